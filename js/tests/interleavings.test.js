// The library against a simple reference, over thousands of interleavings of what a page, others
// and the network do: answers that are late, lost or repeated, refusals, time-outs, resets. The
// network is two queues here, so that every order is tried, and each by its seed again.
'use strict';

const {test, describe} = require('node:test');
const assert = require('node:assert/strict');
const {page, VERSIONS} = require('./page.js');

const RUNS = Number(process.env.INTERLEAVINGS || 150), STEPS = 90, NAMES = ['n', 'a', 'toString'], IDS = [1, 2, 'c1'];
const json = value => JSON.parse(JSON.stringify(value));

const own = (object, name) => (Object.hasOwn(object, name) ? object[name] : undefined);

// Numbers from 0 to 1 that a seed decides (mulberry32).
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// A server of one channel: what it did is in `journal`, what it answered in `answers`.
class Server {
  constructor(chance) { Object.assign(this, {chance, rev: 0, last: 100, journal: [], rows: new Map(), answers: new Map(), wire: null}); }

  commit(method, row, origin) {
    if (method === 'delete') this.rows.delete(row.id); else this.rows.set(row.id, row);
    const change = [method, row, {rev: ++this.rev, channel: null, whole: true}];
    this.journal.push(change);
    if (this.wire && this.wire.joined && !origin) this.wire.tell('event', change);
    return {...change[2], epoch: 'e'};
  }

  // The row as of a rev; null where there is none.
  asOf(id, rev) {
    const last = this.journal.filter(change => change[1].id === id && change[2].rev <= rev).at(-1);
    return last && last[0] !== 'delete' ? last[1] : null;
  }

  handle({id, method, model}) {
    if (method === 'read') return this.answer(method, model);
    if (!this.answers.has(id)) this.answers.set(id, this.answer(method, model));
    return this.answers.get(id);
  }

  answer(method, model) {
    const old = this.rows.get(model.id), fail = name => [{error: {name, message: name}}];
    if (method === 'read') {
      const meta = {rev: this.rev, epoch: 'e', whole: true};
      if (model.id === undefined) return [null, [...this.rows.values()], meta];
      return old ? [null, old, meta] : fail('NotFound');
    }
    if (!old && method !== 'create') return fail('NotFound');
    if (this.chance() < 0.2) return fail('Invalid');
    if (method === 'delete') return [null, {id: model.id}, this.commit('delete', {id: model.id}, true)];
    const row = {id: method === 'create' ? ++this.last : model.id, by: 'page'}; // it keeps no `open`
    for (const name of NAMES) for (const from of method === 'patch' ? [old, model] : [model]) if (Object.hasOwn(from, name)) row[name] = from[name];
    return [null, row, this.commit(method === 'create' ? method : 'update', row, true)];
  }

  listen(request) {
    this.wire.joined = true;
    const answer = {event: 'backend', channel: null, epoch: 'e', rev: this.rev, unknown: []};
    if (request.since) {
      if (this.chance() < 0.3) answer.reset = true;
      else answer.missed = this.journal.filter(change => change[2].rev > request.since.rev);
    }
    // Now and then it has forgotten what it did.
    for (const id of request.unanswered) if (this.answers.has(id) && this.chance() < 0.2) answer.unknown.push(id);
    return [answer];
  }
}

// Socket.IO's client as far as it is used, over two queues.
class Wire {
  constructor(server) {
    const handlers = this.handlers = {};
    this.server = server;
    const socket = this.socket = {
      connected: false, active: true, sendBuffer: [], listeners: () => [],
      on(name, fn) { handlers[name] = fn; }, connect() {}, open() {}, disconnect() {}, close() {},
      emit: (name, request, ack) => { this.up.push({name, request, ack}); }
    };
    socket.io = {opts: {}, on() {}, socket: () => socket};
    this.clear();
  }

  clear() { this.up = []; this.down = []; this.joined = false; }
  tell(kind, content, ack) { this.down.push({kind, content: json(content), ack}); }

  // The server takes one message.
  take() {
    const {name, request, ack} = this.up.shift();
    if (name === 'leave') { this.joined = false; return; }
    this.tell(name, name === 'listen' ? this.server.listen(json(request)) : this.server.handle(json(request)), ack);
  }

  // The page gets one message.
  give() {
    const {ack, content} = this.down.shift();
    if (ack) ack(...content); else this.handlers.synced(...content);
  }

  connect() {
    this.socket.connected = true;
    this.handlers.connect();
  }

  // What was on its way is lost, though some of it has reached the server.
  cut(chance) {
    while (this.up.length && chance() < 0.5) this.take();
    this.clear();
    this.socket.connected = false;
    this.handlers.disconnect();
  }
}

// What a page should show of one model: `said` is the newest rev that it was told of, `mine` what
// it has changed and not saved, `set` what it has set and was not told of since.
class Reference {
  constructor(said) { Object.assign(this, {said, mine: new Map(), set: new Map(), saves: new Set(), time: 0}); }

  tell(row, rev) {
    this.said = Math.max(this.said, rev);
    for (const name of Object.keys(row)) this.set.delete(name);
    if (rev === this.said) this.prune(row);
  }
  change(attrs, base) {
    this.time++;
    for (const [name, value] of Object.entries(attrs)) {
      const before = this.mine.get(name);
      this.mine.set(name, {value, at: this.time, unsaved: true, saves: new Set(before && before.saves)});
      this.set.set(name, value);
    }
    this.prune(base);
  }
  save(names, wait, base, asked) {
    const save = {at: ++this.time};
    this.saves.add(save);
    // What was refused before is saved once more.
    if (!wait) for (const [name, value] of this.set) {
      if ((!names || names.includes(name)) && !this.mine.has(name) && own(base, name) !== value) {
        this.mine.set(name, {value, at: this.time, saves: new Set()});
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
    this.time++;
    for (const [name, {value, unsaved}] of other.mine) {
      if (!unsaved) continue;
      this.mine.set(name, {value, at: this.time, unsaved, saves: new Set()});
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

class Run {
  constructor(backbone, seed) {
    const timers = this.timers = new Map();
    let last = 0;
    Object.assign(this, {seed, chance: generator(seed), count: 0});
    // References by model; the newest rev heard by id; what is under way by request id.
    for (const name of ['references', 'heard', 'saves', 'fetches']) this[name] = new Map();
    this.server = new Server(this.chance);
    this.wire = this.server.wire = new Wire(this.server);
    this.window = page({backbone, before: window => {
      window.io = () => this.wire.socket;
      window.setTimeout = fn => { timers.set(++last, fn); return last; };
      window.clearTimeout = id => { timers.delete(id); };
    }});
    this.window.Backbone.io.connect('');
    for (const id of IDS) this.server.commit('create', {id, by: 'seed', n: 0});
    const Collection = this.window.Backbone.Collection.extend({backend: 'items'});
    this.collection = new Collection().bindBackend();
    this.wire.connect();
    this.fetch(this.collection);
  }

  one(list) { return list[Math.floor(this.chance() * list.length)]; }
  reference(model) {
    if (!this.references.has(model)) this.references.set(model, new Reference(this.heard.get(model.id) || 0));
    return this.references.get(model);
  }
  base(model) { return this.server.asOf(model.id, this.reference(model).said) || {}; }
  value() { return this.one([++this.count, this.count, this.count, 0, null]); }

  others() {
    const id = this.one([...IDS, ...this.server.rows.keys()]), chance = this.chance();
    const row = {id, by: 'other ' + ++this.count};
    for (const name of NAMES) if (this.chance() < 0.6) row[name] = this.value();
    if (!this.server.rows.has(id)) this.server.commit('create', row);
    else if (chance < 0.12) this.server.commit('delete', {id});
    else this.server.commit('update', chance < 0.5 ? row : {...this.server.rows.get(id), ...row});
  }

  attrs(names = [...NAMES, 'open']) { return {[this.one(names)]: this.value()}; }

  // A model that the server knows.
  model() { return this.one(this.collection.filter(model => !model.isNew())); }

  create() {
    const model = this.collection.create({by: 'page', ...this.attrs(NAMES)}, {
      wait: this.chance() < 0.3, timeout: this.chance() < 0.2 ? 1000 : 0,
      error: () => { if (model.isNew()) this.collection.remove(model); }
    });
  }

  edit() {
    const model = this.model();
    if (!model) return;
    const attrs = this.attrs(), name = Object.keys(attrs)[0];
    if (this.chance() < 0.2) attrs[name] = undefined;
    const differs = own(model.attributes, name) !== attrs[name];
    if (attrs[name] === undefined) model.unset(name); else model.set(attrs);
    if (differs) this.reference(model).change(attrs, this.base(model));
  }

  save() {
    const model = this.model();
    if (!model) return;
    // What is asked for with `wait`, and the server does not keep, is a case of rows.test.js.
    const attrs = this.attrs(), name = Object.keys(attrs)[0], chance = this.chance();
    const patch = chance < 0.5, wait = name !== 'open' && this.chance() < 0.3, reference = this.reference(model);
    const differs = own(model.attributes, name) !== attrs[name];
    if (!wait && differs) reference.change(attrs, this.base(model));
    const save = reference.save(patch ? [name] : null, wait, this.base(model), attrs);
    model.save(attrs, {
      patch, wait, timeout: this.chance() < 0.2 ? 1000 : 0,
      error: () => { reference.over(save, true, this.base(model)); save.failed = true; }
    });
    const request = this.asked();
    Object.assign(save, {reference, model});
    this.saves.set(request.message.id, save);
  }

  // The request that the page has made last.
  asked() { return [...this.collection.backend.requests].at(-1); }

  fetch(object, options) {
    const at = new Map([...this.references].map(([model, reference]) => [model, reference.time]));
    object.fetch({...options, error() {}});
    const request = this.asked();
    this.fetches.set(request.message.id, {at, object});
  }

  destroy() {
    const model = this.model();
    if (model && this.chance() < 0.5) model.destroy({wait: true, error() {}});
  }

  // The page gets a message: the reference hears of it as well.
  hear() {
    if (!this.wire.down.length) return;
    const {kind, content} = this.wire.down[0], {backend, history: {rev: newest}} = this.collection.backend;
    const before = this.collection.models.slice(), flying = backend.flying.slice();
    const unborn = flying.filter(request => request.method === 'create').map(request => request.object).filter(model => model.isNew());
    this.wire.give();
    for (const model of unborn) {
      const twin = before.find(other => other !== model && other.id === model.id && !model.isNew());
      if (twin && !this.collection.models.includes(twin)) this.reference(model).inherit(this.reference(twin));
    }
    // An answer that is no news to the page is one to what asked alone.
    const told = (row, rev, object) => {
      if (object && object !== this.collection && rev <= newest) return this.reference(object).tell(row, rev);
      this.heard.set(row.id, Math.max(rev, this.heard.get(row.id) || 0));
      for (const model of new Set([...before, ...this.collection.models])) {
        if (model.id === row.id) this.reference(model).tell(row, rev);
      }
    };
    if (kind === 'event') told(content[1], content[2].rev);
    if (kind === 'listen' && content[0].missed) for (const change of content[0].missed) told(change[1], change[2].rev);
    if (kind !== 'sync' || content[0]) return;
    const request = flying.find(other => !backend.flying.includes(other)), [, result, meta] = content;
    if (request.method === 'delete' || request.expired && meta.rev <= newest) return;
    for (const row of [].concat(result)) told(row, meta.rev, request.object);
    const fetch = this.fetches.get(request.message.id), save = this.saves.get(request.message.id);
    if (fetch) for (const [model, at] of fetch.at) {
      const there = fetch.object === model || fetch.object === this.collection && [].concat(result).some(row => row.id === model.id);
      if (there && !request.options.refetch) this.reference(model).fetched(at);
    }
    if (save && !save.failed) save.reference.over(save, false, this.base(save.model));
  }

  step() {
    const chance = this.chance(), wire = this.wire, up = wire.socket.connected;
    if (!up && chance < 0.4) return wire.connect(), 'connect';
    if (chance < 0.12) return this.others(), 'others';
    if (chance < 0.2) return this.edit(), 'edit';
    if (chance < 0.22) return this.create(), 'create';
    if (chance < 0.33) return this.save(), 'save';
    if (chance < 0.36) return this.fetch(this.collection, {reset: this.chance() < 0.3}), 'fetch all';
    if (chance < 0.38 && this.model()) return this.fetch(this.model()), 'fetch';
    if (chance < 0.4) return this.destroy(), 'destroy';
    if (chance < 0.43 && up) return wire.cut(this.chance), 'cut';
    if (chance < 0.45 && this.timers.size) return this.expire(), 'timer';
    if (chance < 0.72 && wire.up.length) return wire.take(), 'server';
    return this.hear(), 'page';
  }

  expire() {
    const [id, fn] = this.one([...this.timers]);
    this.timers.delete(id);
    fn();
  }

  check(what) {
    for (const model of this.collection.filter(one => !one.isNew())) {
      const reference = this.reference(model);
      reference.check(model.attributes, this.base(model), `seed ${this.seed}, ${what}, model ${model.id}`);
    }
  }

  async run() {
    for (let i = 0; i < STEPS; i++) {
      const what = this.step();
      await null;
      this.check(`step ${i} (${what})`);
    }
    if (!this.wire.socket.connected) this.wire.connect();
    await this.calm();
    this.fetch(this.collection);
    await this.calm();
    this.check('the end');
    for (const fn of this.timers.values()) fn(); // an exception of the library's is thrown there
    assert.deepEqual(json(this.collection.pluck('id')).sort(), [...this.server.rows.keys()].sort(), `seed ${this.seed}: models`);
    for (const model of this.collection.models) {
      const shown = json(model.attributes), row = this.server.rows.get(model.id), reference = this.reference(model);
      for (const name of reference.set.keys()) if (!Object.hasOwn(row, name)) delete shown[name];
      assert.deepEqual(shown, row, `seed ${this.seed}: model ${model.id} in the end`);
      assert.equal(model._backendShadow.own, null);
    }
  }

  async calm() {
    for (let i = 0; i < 1000; i++) {
      if (this.wire.up.length) this.wire.take();
      else if (this.wire.down.length) this.hear();
      else {
        await null;
        await null;
        if (!this.wire.up.length && !this.wire.down.length) return;
      }
      await null;
    }
    assert.fail(`seed ${this.seed}: it never ends`);
  }
}

for (const backbone of VERSIONS) describe('Backbone ' + backbone, () => {
  test(`${RUNS} interleavings`, async () => {
    const first = Number(process.env.SEED || 1);
    for (let seed = first; seed < first + RUNS; seed++) await new Run(backbone, seed).run();
  });
});
