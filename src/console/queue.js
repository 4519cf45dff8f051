// Work that waits its turn.

/** Calls `work(item)` for every item, of so many at a time; `changed()` whenever the number left has. */
export class Queue {
  #atOnce;
  #work;
  #changed;
  #waiting = [];
  #underWay = 0;

  constructor(atOnce, work, changed = () => {}) {
    this.#atOnce = atOnce;
    this.#work = work;
    this.#changed = changed;
  }

  /** Items that wait or are under way. */
  get left() {
    return this.#waiting.length + this.#underWay;
  }

  add(...items) {
    this.#waiting.push(...items);
    this.#start();
    this.#changed();
  }

  #start() {
    while (this.#underWay < this.#atOnce && this.#waiting.length > 0) this.#run(this.#waiting.shift());
  }

  async #run(item) {
    this.#underWay += 1;
    // An error is the item's: the others have their turn all the same.
    try {
      await this.#work(item);
    } finally {
      this.#underWay -= 1;
      this.#start();
      this.#changed();
    }
  }
}
