// The library against a simple reference, over thousands of interleavings of what a page, others
// and the network do: answers that are late, lost or repeated, refusals, time-outs, resets, models
// that are destroyed and made anew. The network is queues here, so that every order is tried, and
// each by its seed again (SEED=1 INTERLEAVINGS=1). Whenever all is answered, before anything is
// fetched again, each collection is as the store, but for what the page took out without success.
'use strict';

const {test, describe} = require('node:test');
const assert = require('node:assert/strict');
const {page, VERSIONS} = require('./page.js');
const {generator, json, NAMES, Rest, Server, Wire} = require('./wire.js');
const {Reference, now, own} = require('./reference.js');

const RUNS = Number(process.env.INTERLEAVINGS || 60), STEPS = 120, IDS = [1, 2, 'c1'];

// What happens next, and how often.
const WEIGHTS = {
  others: 14, edit: 6, create: 4, save: 7, fetchAll: 3, fetchOne: 1, destroy: 5, move: 2, bind: 1, stand: 1, again: 1, ask: 5, serve: 5,
  cut: 4, expire: 2, calm: 1, take: 20, hear: 20
};
const SUM = Object.values(WEIGHTS).reduce((sum, weight) => sum + weight);

// A page with two collections of one channel, of which one is bound and unbound, and a third that
// follows the channel and reads and writes by REST.
class Run {
  constructor(backbone, seed) {
    const timers = this.timers = new Map();
    let last = 0;
    Object.assign(this, {seed, chance: generator(seed), count: 0, parts: 0, bindings: 0});
    // References by model; the newest rev heard by id; what is under way by request id; by
    // collection: which binding it has, and the ids that it may lack, since the page took them out.
    for (const name of ['references', 'heard', 'news', 'saves', 'fetches', 'bound', 'lacks']) this[name] = new Map();
    // Bound collections that were fetched since; models of their own, those of them that are unbound, and
    // those that are bound and were fetched.
    for (const name of ['live', 'alone', 'unbound', 'standing']) this[name] = new Set();
    this.server = new Server(this.chance);
    this.wire = this.server.wire = new Wire(this.server);
    this.views = new Rest(this.server);
    this.window = page({backbone, before: window => {
      window.io = () => this.wire.socket;
      window.Backbone.ajax = params => this.views.ajax(params);
      window.setTimeout = fn => { timers.set(++last, fn); return last; };
      window.clearTimeout = id => { timers.delete(id); };
    }});
    const {Collection, Model, io} = this.window.Backbone;
    this.Standing = Model.extend({backend: 'items'});
    io.connect('');
    for (const id of IDS) this.server.commit('create', {id, by: 'seed', n: 0});
    this.collections = [1, 2].map(() => new (Collection.extend({backend: 'items'}))());
    this.follower = new (Collection.extend({backend: {name: 'items', sync: false}, url: '/items'}))().bindBackend();
    for (const one of [...this.collections, this.follower]) this.lacks.set(one, new Set());
    this.wire.connect();
    for (const one of this.collections) this.follow(one);
    this.read();
  }

  one(list) { return list[Math.floor(this.chance() * list.length)]; }
  reference(model, said = this.heard.get(model.id) || 0) {
    if (!this.references.has(model)) this.references.set(model, new Reference(said));
    return this.references.get(model);
  }
  base(model) { return this.server.asOf(model.id, this.reference(model).said) || {}; }
  value() { return this.one([++this.count, this.count, this.count, 0, null]); }
  attrs(names = [...NAMES, 'open']) { return {[this.one(names)]: this.value()}; }

  // A collection that is live, and a model there that the server knows.
  collection() { return this.one(this.collections.filter(one => this.live.has(one))) || this.collections[0]; }
  model(collection) {
    if (!collection && this.standing.size && this.chance() < 0.3) return this.one([...this.standing]);
    collection = collection || this.collection();
    return this.one(collection.filter(model => !model.isNew() && model.collection));
  }

  // The request that the page has made last.
  asked() { return [...this.collections[0].backend.requests].at(-1); }
  timeout() { return this.chance() < 0.2 ? 1000 : 0; }

  // What happens
  // ------------

  others() {
    const {last, rows} = this.server, id = this.one([...IDS, last, last - 1, ...rows.keys()]), chance = this.chance();
    const row = {id, by: 'other ' + ++this.count};
    for (const name of NAMES) if (this.chance() < 0.6) row[name] = this.value();
    if (!rows.has(id)) this.server.commit('create', row);
    else if (chance < 0.25) this.server.commit('delete', {id});
    else if (chance < 0.28) this.server.commit('reset', this.chance() < 0.5 ? null : [...rows.values()]);
    else this.server.commit('update', chance < 0.6 ? row : {...rows.get(id), ...row});
  }

  create() {
    const collection = this.collection(), wait = this.chance() < 0.3;
    const model = collection.create({by: 'page', ...this.attrs(NAMES)}, {
      wait, timeout: this.timeout(), error: () => { if (model.isNew()) collection.remove(model); }
    });
    if (!wait && this.chance() < 0.1) collection.remove(model);
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
      patch, wait, timeout: this.timeout(),
      error: () => { reference.over(save, true, this.base(model)); save.failed = true; }
    });
    Object.assign(save, {reference, model});
    this.saves.set(this.asked().message.id, save);
  }

  fetch(object, options) {
    const at = now();
    object.fetch({error() {}, ...options});
    this.fetches.set(this.asked().message.id, {at, object, binding: this.bound.get(object), part: options && options.page === 0});
  }
  fetchAll() {
    const collection = this.collection();
    if (this.chance() < 0.7) return this.fetch(collection, {reset: this.chance() < 0.3});
    for (const page of [0, 1]) this.fetch(collection, {page, remove: page === 0});
  }
  fetchOne() { const model = this.model(); if (model) this.fetch(model); }

  // A model that is in no collection, until it is destroyed.
  stand() {
    if (this.alone.size > 1 || !this.server.rows.size) return;
    const model = new this.Standing({id: this.one([...this.server.rows.keys()])});
    this.alone.add(model.on('destroy', () => this.leave(model)));
    this.stands(model);
  }
  stands(model) {
    const stands = () => { if (this.alone.has(model) && !this.unbound.has(model)) this.standing.add(model); };
    this.fetch(model.bindBackend(), {success: stands, error: () => this.leave(model)});
  }
  leave(model) { for (const all of [this.alone, this.unbound, this.standing]) all.delete(model.unbindBackend()); }

  // A model of its own, or the collection that asks by REST, is unbound, or bound and fetched again.
  again() {
    const one = this.one([this.follower, ...this.alone]);
    if (this.unbound.delete(one)) {
      if (one !== this.follower) return this.stands(one);
      one.bindBackend();
      return this.read();
    }
    this.unbound.add(one.unbindBackend());
    this.standing.delete(one);
    this.live.delete(one);
    if (one === this.follower) this.bindings = ++this.parts;
  }

  destroy() {
    const model = this.model(), wait = this.chance() < 0.5;
    if (!model) return;
    if (!wait) for (const one of this.collections) if (one.models.includes(model)) this.lacks.get(one).add(model.id);
    model.destroy({wait, timeout: this.timeout(), error() {}});
  }

  // A model goes from one collection to the other, or into both.
  move() {
    const from = this.collection(), to = this.collections.find(one => one !== from), model = this.model(from);
    // While one of them is being read the other may know better.
    if (!model || [...from.backend.requests].some(({method, object}) => method === 'read' && this.collections.includes(object))) return;
    if (this.chance() < 0.5) {
      from.remove(model);
      this.lacks.get(from).add(model.id);
    }
    to.add(model);
    this.lacks.get(to).delete(model.id);
  }

  follow(collection) {
    this.bound.set(collection.bindBackend(), ++this.count);
    this.fetch(collection);
  }

  bind() {
    const collection = this.collections[1];
    if (this.bound.has(collection)) {
      this.bound.delete(collection.unbindBackend());
      this.live.delete(collection);
    } else {
      this.follow(collection);
    }
  }

  // The page asks by REST.
  ask() {
    if (this.unbound.has(this.follower)) return;
    const follower = this.follower, model = this.model(follower), chance = this.chance(), wait = this.chance() < 0.5;
    if (chance < 0.2) {
      this.read({reset: wait});
    } else if (chance < 0.4 || !model) {
      const born = follower.create(this.attrs(NAMES), {wait, error() { if (born.isNew()) follower.remove(born); }});
    } else if (chance < 0.7) {
      model.save(this.attrs(NAMES), {patch: true, wait: true, error() {}});
    } else {
      if (!wait) this.lacks.get(follower).add(model.id);
      model.destroy({wait, error() {}});
    }
  }

  // By REST. What was never answered need not be as the store, nor what was asked for before the first
  // of two pages took away the rest, and answered after that.
  read(options) {
    const {follower, live} = this;
    const ask = (more, success) => {
      const {parts} = this, all = () => { if (parts === this.parts) live.add(follower); };
      follower.fetch({...options, ...more, success: success || all, error() {}}).catch(() => {}); // it was lost
    };
    if (this.chance() < 0.7) return void ask();
    // Page by page.
    const {bindings} = this;
    ask({data: {page: 0}}, () => {
      this.parts++;
      live.delete(follower);
      if (bindings === this.bindings) ask({data: {page: 1}, remove: false, reset: false});
    });
  }

  cut() { if (this.wire.socket.connected) this.wire.cut(this.chance); }
  take() { if (this.wire.up.length) this.wire.take(); else this.hear(); }
  serve() { if (this.views.asked.length) this.views.move(this.chance); }

  expire() {
    if (!this.timers.size) return;
    const [id, fn] = this.one([...this.timers]);
    this.timers.delete(id);
    fn();
  }

  // The page gets a message: the reference hears of it as well.
  hear() {
    if (!this.wire.down.length) return;
    const {kind, content} = this.wire.down[0], {backend, history: {rev: newest}} = this.collections[0].backend;
    const before = new Map(this.collections.map(one => [one, one.models.slice()])), flying = backend.flying.slice();
    const unborn = flying.filter(({method, object}) => method === 'create' && object.isNew());
    this.wire.give();
    for (const {object, collection} of unborn) {
      const twin = before.get(collection).find(other => other !== object && other.id === object.id && !object.isNew());
      if (twin && !collection.models.includes(twin)) this.reference(object, 0).inherit(this.reference(twin));
    }
    const alone = [...this.alone].filter(one => !this.unbound.has(one));
    const everyone = () => [...alone, ...[...this.bound.keys()].flatMap(one => [...before.get(one), ...one.models])];
    if (kind === 'event') this.changed(content, everyone());
    if (kind === 'listen' && content[0].reset) this.news.clear(); // it is forgotten, and all read again
    if (kind === 'listen' && content[0].missed) for (const change of content[0].missed) this.changed(change, everyone());
    if (kind !== 'sync' || content[0]) return;
    this.answered(flying.find(other => !backend.flying.includes(other)), content, newest, everyone());
  }

  changed([method, row, {rev}], models) {
    if (method === 'reset') this.news.clear();
    for (const one of [].concat(row || [])) {
      this.news.set(one.id, Math.max(rev, this.news.get(one.id) || 0));
      this.told(one, rev, models);
      if (method === 'create' || method === 'reset') this.shown(one.id, this.lacks.keys());
    }
  }

  answered({object, method, expired, message}, [, result, meta], newest, everyone) {
    if (method === 'delete' || expired && meta.rev <= newest) return;
    // An answer that is no news to the page is one to what asked alone.
    const read = method === 'read', list = this.collections.includes(object), news = !read && meta.rev > newest;
    for (const row of [].concat(result)) {
      if (!read) this.news.set(row.id, Math.max(meta.rev, this.news.get(row.id) || 0));
      this.told(row, meta.rev, list ? object.models : expired ? everyone : news ? [object, ...everyone] : [object]);
      if (list || method === 'create' && news) this.shown(row.id, list ? [object] : this.lacks.keys());
    }
    const fetch = this.fetches.get(message.id), save = this.saves.get(message.id);
    if (fetch && list && !fetch.part && fetch.binding && fetch.binding === this.bound.get(object)) this.live.add(object);
    if (fetch) for (const {id} of [].concat(result)) {
      for (const model of list ? object.models : [object]) if (model.id === id) this.reference(model).fetched(fetch.at);
    }
    if (save && !save.failed) save.reference.over(save, false, this.base(save.model));
  }

  told(row, rev, models) {
    this.heard.set(row.id, Math.max(rev, this.heard.get(row.id) || 0));
    const newest = Math.max(rev, this.news.get(row.id) || 0), now = this.server.asOf(row.id, newest) || row;
    for (const model of new Set(models)) if (model.id === row.id) this.reference(model, 0).tell(now, newest);
  }

  // The server has said that there is such a model.
  shown(id, collections) {
    for (const one of collections) if (this.bound.has(one) || one === this.follower) this.lacks.get(one).delete(id);
  }

  async step() {
    const connected = this.wire.socket.connected;
    let chance = this.chance() * SUM, what;
    for (what in WEIGHTS) if ((chance -= WEIGHTS[what]) < 0) break;
    if (!connected && this.chance() < 0.4) { this.wire.connect(); what = 'connect'; }
    else await this[what]();
    return what;
  }

  // What is shown
  // -------------

  check(what, quiet) {
    for (const model of new Set([...this.standing, ...this.collections.filter(one => this.live.has(one)).flatMap(one => one.models)])) {
      if (model.isNew()) continue;
      const row = quiet ? this.server.rows.get(model.id) : this.base(model);
      this.reference(model).check(model.attributes, row, `seed ${this.seed}, ${what}, model ${model.id}`);
    }
  }

  // All is answered: the collections are as the store.
  async calm() {
    const {rows} = this.server;
    if (!this.wire.socket.connected) this.wire.connect();
    do {
      await this.settle();
      for (const [id, fn] of this.timers) { this.timers.delete(id); fn(); } // an exception of the library's is thrown there
    } while (this.wire.up.length || this.views.asked.length);
    for (const one of this.live) {
      const lacks = this.lacks.get(one), at = [...this.collections, this.follower].indexOf(one), where = `seed ${this.seed}, collection ${at}`;
      const ids = [...rows.keys()].filter(id => one.models.some(model => model.id === id) || !lacks.has(id));
      assert.deepEqual(json(one.pluck('id')).sort(), ids.sort(), where);
      for (const id of ids) lacks.delete(id);
    }
    for (const {id} of this.standing) assert.ok(rows.has(id), `seed ${this.seed}: model ${id} stands alone, and is gone`);
    this.check('calm', true);
    for (const model of this.live.has(this.follower) ? this.follower.models : []) {
      const row = rows.get(model.id), shown = json(model.attributes);
      for (const name of Object.keys(shown)) if (!Object.hasOwn(row, name)) delete shown[name];
      assert.deepEqual(shown, row, `seed ${this.seed}: model ${model.id} that follows`);
    }
  }

  async settle() {
    for (let i = 0; i < 1000; i++) {
      if (this.wire.up.length) this.wire.take();
      else if (this.wire.down.length) this.hear();
      else if (this.views.asked.length) this.views.move(this.chance, true);
      else {
        await null;
        await null;
        if (!this.wire.up.length && !this.wire.down.length && !this.views.asked.length) return;
      }
      await null;
    }
    assert.fail(`seed ${this.seed}: it never ends`);
  }

  async run() {
    for (let i = 0; i < STEPS; i++) {
      const what = await this.step();
      await null;
      this.check(`step ${i} (${what})`);
    }
    await this.calm();
    for (const one of this.live) if (one !== this.follower) this.fetch(one);
    await this.calm();
    for (const model of this.collections.filter(one => this.live.has(one)).flatMap(one => one.models)) {
      const shown = json(model.attributes), row = this.server.rows.get(model.id), reference = this.reference(model);
      for (const name of reference.set.keys()) if (!Object.hasOwn(row, name)) delete shown[name];
      assert.deepEqual(shown, row, `seed ${this.seed}: model ${model.id} in the end`);
      assert.equal(model._backendShadow.own, null);
    }
  }
}

VERSIONS.forEach((backbone, at) => describe('Backbone ' + backbone, () => {
  test(`${RUNS} interleavings`, async () => {
    const first = Number(process.env.SEED || 1 + at * RUNS);
    for (let seed = first; seed < first + RUNS; seed++) await new Run(backbone, seed).run();
  });
}));
