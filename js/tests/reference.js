// What a page should show of a model, said as simply as can be.
'use strict';

const assert = require('node:assert/strict');

const {NAMES} = require('./wire.js');

const own = (object, name) => (Object.hasOwn(object, name) ? object[name] : undefined);

let time = 0;
const now = () => ++time;

// What a page should show of one model: `said` is the newest rev that it was told of, `mine` what
// it has changed and not saved, `set` what it has set and was not told of since.
class Reference {
  constructor(said) { Object.assign(this, {said, mine: new Map(), set: new Map(), saves: new Set()}); }

  tell(row, rev) {
    this.said = Math.max(this.said, rev);
    for (const name of Object.keys(row)) this.set.delete(name);
    if (rev === this.said) this.prune(row);
  }
  change(attrs, base) {
        for (const [name, value] of Object.entries(attrs)) {
      const before = this.mine.get(name);
      this.mine.set(name, {value, at: now(), unsaved: true, saves: new Set(before && before.saves)});
      this.set.set(name, value);
    }
    this.prune(base);
  }
  save(names, wait, base, asked) {
    const save = {at: now()};
    this.saves.add(save);
    // What was refused before is saved once more.
    if (!wait) for (const [name, value] of this.set) {
      if ((!names || names.includes(name)) && !this.mine.has(name) && own(base, name) !== value) {
        this.mine.set(name, {value, at: now(), saves: new Set()});
      }
    }
    for (const [name, edit] of this.mine) {
      if (names && !names.includes(name) || wait && Object.hasOwn(asked, name) && asked[name] !== edit.value) continue;
      edit.saves.add(save);
      edit.unsaved = false;
    }
    return save;
  }
  over(save, refused, base) {
    this.saves.delete(save);
    for (const [name, edit] of this.mine) {
      if (!edit.saves.has(save)) continue;
      for (const other of edit.saves) if (other === save || !refused && other.at < save.at) edit.saves.delete(other);
      if (!edit.saves.size && !edit.unsaved) this.mine.delete(name);
    }
    this.prune(base);
  }
  fetched(at) {
    for (const [name, edit] of this.mine) if (edit.at <= at && !edit.saves.size) this.mine.delete(name);
  }
  // Another model turns out to be this one: what is set there, and not saved, is set here.
  inherit(other) {
    this.said = Math.max(this.said, other.said);
        for (const [name, {value, at, unsaved}] of other.mine) {
      if (!unsaved) continue;
      this.mine.set(name, {value, at, unsaved, saves: new Set()});
      this.set.set(name, value);
    }
  }
  // What the page has set back to what the server has is no change.
  prune(base) {
    if (this.saves.size) return;
    for (const [name, edit] of this.mine) if (own(base, name) === edit.value) this.mine.delete(name);
  }

  check(shown, row, what) {
    this.prune(row);
    for (const name of [...NAMES, 'by', 'open']) {
      const value = own(shown, name);
      const set = this.set.has(name) ? this.set.get(name) : NaN;
      if (this.mine.has(name)) assert.equal(value, this.mine.get(name).value, `${what}: own ${name}`);
      // Refused, the page stays as it is while nothing is said; what was never told is its own.
      else if (value !== set) {
        this.set.delete(name);
        assert.equal(value, own(row, name), `${what}: ${name}`);
      }
    }
  }
}

module.exports = {Reference, now, own};
