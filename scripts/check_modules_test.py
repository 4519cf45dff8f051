#!/usr/bin/env python3
"""check_modules.py on small crates: what passes, and what it must not let pass."""

import pathlib
import tempfile
import unittest

import check_modules


def circles(files: dict[str, str]) -> list[list[str]]:
    """The circles of a crate of these files."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        edges = check_modules.arrows(root / "lib.rs")
    return sorted(sorted(part) for part in check_modules.circles(edges))


class Circles(unittest.TestCase):
    def test_arrows_in_one_direction_pass(self):
        self.assertEqual(
            circles({
                "lib.rs": "mod a;\nmod b;\npub use a::A;",
                "a.rs": "use crate::b::{self, B as C};",
                "b.rs": "use std::fmt;",
            }),
            [],
        )

    def test_a_circle_is_found(self):
        for use in ("use crate::a::A;", "fn f() -> crate::a::A {}", "use super::{a::A, c};", "pub use crate::A;"):
            with self.subTest(use=use):
                files = {"lib.rs": "mod a; mod b; mod c; pub use a::{A, Z};", "a.rs": "use super::b::B;", "b.rs": use, "c.rs": ""}
                self.assertEqual(circles(files), [["a", "b"]])

    def test_modules_below_count_for_the_one_above(self):
        files = {
            "lib.rs": "mod a;\nmod b;",
            "a/mod.rs": "mod deep;",
            "a/deep.rs": "use super::super::b::B;\nuse super::other;",
            "b.rs": "use crate::a::deep::D;",
        }
        self.assertEqual(circles(files), [["a", "b"]])

    def test_what_the_root_defines_is_a_module_too(self):
        files = {"lib.rs": "mod a;\nuse a::A;\npub struct Root(A);", "a.rs": "use crate::Root;"}
        self.assertEqual(circles(files), [["a", "crate"]])

    def test_tests_comments_and_strings_do_not_count(self):
        files = {
            "lib.rs": "mod a;\nmod b;\n#[cfg(test)]\nmod testing;",
            "a.rs": "use crate::b::B;",
            "b.rs": '// use crate::a::A;\nconst S: &str = "crate::a::A";\n'
                    "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n    fn f() { if true {} }\n}",
            "testing.rs": "use crate::a::A;",
        }
        self.assertEqual(circles(files), [])


if __name__ == "__main__":
    unittest.main()
