__version__ = "x"
