// Pages that read and write by REST, and follow a backend.
'use strict';

const {test, describe, beforeEach, afterEach} = require('node:test');
const assert = require('node:assert/strict');
const {Mock} = require('./mock.js');
const {page, event, until} = require('./page.js');

const json = value => JSON.parse(JSON.stringify(value));

// How a page asks: jQuery's ajax, or a `Backbone.ajax` that somebody made of fetch.
const kinds = {
  jquery: (window, rest) => {
    window.Backbone.ajax = params => {
      const promise = rest(params);
      promise.then(
        ({body, header}) => params.success(body, 'success', {getResponseHeader: name => (name === 'Backbone-Rev' ? header : null)}),
        () => params.error({status: 400}, 'error', 'Bad Request')
      );
      return {then: promise.then.bind(promise)};
    };
  },
  fetch: (window, rest) => {
    window.fetch = async (url, params) => {
      const {body, header} = await rest({url, ...params});
      return {headers: {get: name => (name === 'Backbone-Rev' ? header : null)}, json: async () => body};
    };
    window.Backbone.ajax = params => window.fetch(params.url, params).then(r => r.json()).then(params.success, params.error);
  }
};

for (const backbone of ['1.1.2', '1.6']) for (const kind of Object.keys(kinds)) describe(`Backbone ${backbone}, ${kind}`, () => {
  let mock, backend, window, asked, held, headers;

  beforeEach(async () => {
    mock = await new Mock(['tasks']).start();
    backend = mock.backends.tasks;
    asked = [];
    held = null;
    headers = true;
    window = page({backbone});
    kinds[kind](window, rest);
  });
  afterEach(async () => {
    window.close();
    await mock.stop();
  });

  // The REST views of an application whose commits are announced to everybody.
  async function rest({type, url, data}) {
    const [, , id] = url.split('/'), label = `other=x:9, tasks=${backend.epoch}:${backend.rev}`;
    const method = {GET: 'read', POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete'}[type];
    const model = {...(typeof data === 'string' ? JSON.parse(data) : {}), ...(id && {id: Number(id)})};
    asked.push([type, url]);
    if (model.text === 'refused') throw new Error('400');
    const body = backend.store({method, model: type === 'GET' && !id ? {} : model});
    if (method !== 'read') backend.changed(method, body, null);
    if (held) await new Promise(resolve => held.push(resolve));
    return {body: json(body), header: headers ? label : null};
  }
  const make = (attrs, spec) => new (window.Backbone.Collection.extend({
    backend: {name: 'tasks', sync: false, ...spec}, url: '/tasks', ...attrs
  }))().bindBackend();
  async function live(collection) {
    window.connect(mock.url);
    await event(collection, 'backend:connect');
    return collection;
  }
  const content = collection => json(collection.toJSON()).sort((a, b) => a.id - b.id);
  const store = () => json([...backend.models.values()]).sort((a, b) => a.id - b.id);
  const settled = collection => until(() => collection.backend.requests.size === 0);
  const release = () => { const list = held; held = null; list.forEach(open => open()); };

  test('reads and writes go by REST, what others do comes live', async () => {
    backend.emit('create', {id: 1, text: 'one'});
    const a = await live(make());
    await a.fetch();
    await until(() => a.length === 1);
    a.get(1).save({text: 'ONE'});
    a.create({text: 'two'});
    await until(() => a.length === 2 && a.every(m => !m.isNew()));
    backend.emit('create', {id: 7, text: 'theirs'});
    await until(() => a.get(7));
    a.get(7).destroy();
    await until(() => backend.models.size === 2);
    await settled(a);
    assert.deepEqual(content(a), store());
    assert.equal(backend.requests.length, 0);
    assert.deepEqual(asked.map(([type]) => type), ['GET', 'PUT', 'POST', 'DELETE']);
  });

  test('a model that others made anew before the answer to its delete came is shown', async () => {
    backend.emit('create', {id: 1, text: 'old'});
    const a = await live(make());
    await a.fetch();
    await until(() => a.length === 1);
    const reset = event(a, 'backend:reset'), deletes = held = [];
    a.get(1).destroy();
    await until(() => deletes.length);
    held = null;
    mock.cut();
    backend.emit('create', {id: 1, text: 'anew'});
    backend.journal.length = 0;
    await reset;
    await until(() => a.backend.requests.size === 1);
    assert.equal(a.length, 0);
    deletes[0]();
    await until(() => a.length === 1);
    await settled(a);
    assert.deepEqual(content(a), store());
  });

  test('the echo of one\'s own create never shows twice', async () => {
    const a = await live(make()), b = make(), lengths = [], heard = [];
    a.on('add remove', () => lengths.push(a.length));
    a.on('backend:create', row => heard.push(row.text));
    held = [];
    const model = a.create({text: 'mine'});
    await until(() => held.length);
    backend.emit('create', {id: 50, text: 'theirs'});
    backend.emit('update', {id: 1, text: 'mine, changed'});
    await until(() => b.length === 2 && b.get(1).get('text') === 'mine, changed');
    release();
    await until(() => a.length === 2);
    await settled(a);
    assert.deepEqual(lengths, [1, 2]);
    assert.equal(a.at(0), model);
    assert.deepEqual(heard, ['theirs']);
    assert.deepEqual(content(a), store());
  });

  for (const rebind of [false, true]) test(`what was held back is not heard after unbindBackend() (bound again: ${rebind})`, async () => {
    const a = await live(make()), other = make(), heard = [];
    held = [];
    a.create({text: 'mine'});
    await until(() => held.length);
    backend.emit('create', {id: 50, text: 'theirs'});
    await until(() => other.get(50));
    a.unbindBackend();
    backend.emit('delete', {id: 50});
    await until(() => !other.get(50));
    a.on('backend', method => heard.push(method));
    if (rebind) await event(a.bindBackend(), 'backend:connect');
    release();
    await settled(a);
    assert.deepEqual(heard, []);
    assert.deepEqual(content(a), store());
  });

  test('what others do with a model of theirs while a create is under way is not lost', async () => {
    const a = await live(make()), other = make();
    held = [];
    a.create({text: 'mine'});
    await until(() => held.length);
    for (const id of [50, 51]) backend.emit('create', {id, text: 'theirs'});
    backend.emit('update', {id: 50, text: 'theirs, changed'});
    backend.emit('delete', {id: 51});
    await until(() => other.length === 2 && !other.get(51));
    release();
    await settled(a);
    assert.deepEqual(content(a), store());
  });

  test('nor does a reset leave what came before it', async () => {
    const a = await live(make()), other = make();
    await a.fetch();
    await settled(a);
    const creates = held = [];
    a.create({text: 'mine'});
    await until(() => creates.length);
    backend.emit('create', {id: 50, text: 'theirs'});
    await until(() => other.get(50));
    held = null;
    backend.models.delete(50);
    backend.changed('reset', null);
    await until(() => a.get(1));
    creates[0]();
    await settled(a);
    assert.deepEqual(content(a), store());
  });

  test('a fetch that was asked before a reset is asked again', async () => {
    const a = await live(make()), fetches = held = [];
    a.fetch();
    await until(() => fetches.length);
    held = null;
    const reset = event(a, 'backend:reset');
    backend.emit('create', {id: 1, text: 'one'});
    backend.changed('reset', null);
    await reset;
    fetches[0]();
    await until(() => asked.length === 2 && a.backend.requests.size === 0);
    assert.deepEqual(content(a), store());
  });

  test('a model that others deleted before the answer to its create came is gone', async () => {
    const a = await live(make());
    await a.fetch();
    await settled(a);
    const creates = held = [], reset = event(a, 'backend:reset');
    a.create({text: 'mine'});
    await until(() => creates.length);
    held = null;
    mock.cut();
    backend.emit('delete', {id: 1});
    backend.journal.length = 0;
    await reset;
    await until(() => a.backend.requests.size === 1);
    creates[0]();
    await settled(a);
    assert.deepEqual(content(a), store());
  });

  test('a create that fails: what was held back comes', async () => {
    const a = await live(make());
    let fail;
    const ajax = window.Backbone.ajax;
    window.Backbone.ajax = params => { fail = () => params.error({status: 400}); return {}; };
    a.create({text: 'refused'});
    window.Backbone.ajax = ajax;
    const heard = event(a, 'backend:create');
    backend.emit('create', {id: 50, text: 'theirs'});
    const other = make();
    await until(() => other.length === 1);
    assert.equal(a.length, 1);
    fail();
    assert.deepEqual(json((await heard)[0]), {id: 50, text: 'theirs'});
    assert.ok(a.get(50));
  });

  test('an old answer does not overwrite, remove or bring back', async () => {
    for (const id of [1, 2]) backend.emit('create', {id, text: 'old'});
    const a = await live(make());
    a.fetch();
    await until(() => a.length === 2);
    held = [];
    const events = [];
    a.fetch();
    a.get(1).fetch();
    await until(() => held.length === 2);
    backend.emit('update', {id: 1, text: 'new'});
    backend.emit('delete', {id: 2});
    backend.emit('create', {id: 3, text: 'created'});
    await until(() => a.get(3));
    a.on('add remove change', () => events.push('flicker'));
    release();
    await settled(a);
    assert.deepEqual(content(a), store());
    assert.deepEqual(events, []);
  });

  for (const header of [true, false]) {
    test(`what changes between the first read and listening is not missed (header: ${header})`, async () => {
      headers = header;
      backend.emit('create', {id: 1, text: 'old'});
      const a = make();
      a.fetch();
      await until(() => a.length === 1);
      await settled(a);
      backend.emit('update', {id: 1, text: 'new'});
      backend.emit('create', {id: 2, text: 'two'});
      await live(a);
      await until(() => a.length === 2);
      await settled(a);
      assert.deepEqual(content(a), store());
      // With the header we listen from there; without it, it is read once more.
      assert.deepEqual(backend.listens[0].since, header ? {epoch: 'e1', rev: 1} : undefined);
      assert.equal(asked.length, header ? 1 : 2);
    });

    test(`nor what changes while the first read is under way (header: ${header})`, async () => {
      headers = header;
      backend.emit('create', {id: 1, text: 'old'});
      held = [];
      const a = make();
      a.fetch();
      await until(() => held.length);
      backend.emit('update', {id: 1, text: 'new'});
      await live(a);
      release();
      await until(() => a.length === 1 && a.get(1).get('text') === 'new');
      await settled(a);
      assert.equal(asked.length, 2);
    });
  }

  test('a reset fetches again by REST', async () => {
    const a = await live(make());
    a.fetch({data: {page: 1}});
    await settled(a);
    backend.models.set(9, {id: 9, text: 'nine'});
    backend.changed('reset', null);
    await until(() => a.get(9));
    assert.deepEqual(asked, [['GET', '/tasks'], ['GET', '/tasks']]);
  });

  test('a reset that was missed fetches again once', async () => {
    const a = await live(make());
    a.fetch();
    await settled(a);
    mock.cut();
    await event(a, 'backend:disconnect');
    backend.models.set(9, {id: 9, text: 'nine'});
    backend.changed('reset', null);
    await event(a, 'backend:connect');
    await until(() => a.get(9));
    assert.deepEqual(asked, [['GET', '/tasks'], ['GET', '/tasks']]);
  });

  if (kind === 'jquery') for (const status of [0, 503]) test(`what a reset fetches again is asked for until it is there (${status})`, async () => {
    const a = await live(make()), ajax = window.Backbone.ajax;
    await a.fetch();
    await settled(a);
    const waited = [];
    window.eval('Math.random = () => 0.9');
    window.setTimeout = (fn, delay) => {
      waited.push(delay / 0.9);
      return setTimeout(fn, 0);
    };
    let failed = 0;
    window.Backbone.ajax = params => {
      if (failed === 7) return ajax(params);
      failed++;
      return Promise.resolve().then(() => params.error({status}, 'error', ''));
    };
    backend.models.set(9, {id: 9, text: 'nine'});
    backend.changed('reset', null);
    await until(() => a.get(9));
    assert.deepEqual(waited.slice(-7).map(Math.round), [2800, 5600, 11200, 22400, 44800, 60000, 60000]);
  });

  if (kind === 'fetch') for (const own of [false, true]) test(`so is it where only the promise tells it failed${own ? ' (own fetch)' : ''}`, async () => {
    const ask = () => window.fetch('/tasks', {type: 'GET'}).then(r => r.json());
    window.Backbone.ajax = params => ask().then(params.success);
    const a = await live(make(own ? {fetch() { return ask().then(rows => this.set(rows)); }} : {}));
    if (own) window.Backbone.io.follow(a, 'tasks');
    await a.fetch();
    await settled(a);
    window.setTimeout = fn => setTimeout(fn, 0);
    const {fetch} = window;
    let failed = 0;
    window.fetch = (...args) => (++failed > 2 ? fetch(...args) : Promise.reject(new TypeError('Failed to fetch')));
    backend.models.set(9, {id: 9, text: 'nine'});
    backend.changed('reset', null);
    await until(() => a.get(9));
    assert.equal(failed, 3);
  });

  if (kind === 'jquery') test('by REST the pages of a list are fetched again one after the other', async () => {
    const a = await live(make()), answers = [];
    window.Backbone.ajax = params => new Promise(over => answers.push(() => {
      params.success(params.data.ids.map(id => ({id})));
      over();
    }));
    const answer = async () => {
      await until(() => answers.length);
      answers.pop()(); // the latest first
    };
    a.fetch({data: {ids: [1, 2]}});
    await answer();
    a.fetch({data: {ids: [3, 4]}, remove: false});
    await answer();
    backend.changed('reset', null);
    for (let i = 0; i < 2; i++) await answer();
    assert.equal(a.pluck('id').sort().join(), '1,2,3,4');
    assert.equal(a.backend.requests.size, 0);
  });

  if (kind === 'jquery') test('a model of its own that is gone after a reset is destroyed', async () => {
    backend.emit('create', {id: 1, text: 'one'});
    const Model = window.Backbone.Model.extend({backend: {name: 'tasks', sync: false}, urlRoot: '/tasks'});
    const model = await live(new Model({id: 1}).bindBackend()), gone = event(model, 'destroy');
    await model.fetch();
    await until(() => model.get('text') === 'one');
    window.Backbone.ajax = params => Promise.resolve().then(() => params.error({status: 404}, 'error', 'Not Found'));
    backend.models.delete(1);
    backend.changed('reset', null);
    await gone;
  });

  test('own changes stay until they are saved, and come back when refused', async () => {
    backend.emit('create', {id: 1, text: 'one', v: 1});
    const a = await live(make());
    a.fetch();
    await until(() => a.length === 1);
    const model = a.get(1);
    held = [];
    model.save({text: 'mine'}, {patch: true});
    await until(() => held.length);
    backend.emit('update', {id: 1, text: 'theirs', v: 2});
    await until(() => model.get('v') === 2);
    assert.equal(model.get('text'), 'mine');
    release();
    await settled(a);
    const refused = event(model, 'error');
    model.save({text: 'refused'});
    backend.emit('update', {id: 1, text: 'last', v: 3});
    await refused;
    await until(() => model.get('v') === 3);
    assert.equal(model.get('text'), 'last');
  });

  test('transform makes of rows what parse expects', async () => {
    const a = await live(make({
      model: window.Backbone.Model.extend({parse: row => (row.task ? row.task : row)}), parse: answer => answer.map(task => ({task}))
    }, {transform: task => ({task})}));
    backend.emit('create', {id: 1, text: 'one'});
    await until(() => a.length === 1);
    held = [];
    a.fetch();
    await until(() => held.length);
    backend.emit('update', {id: 1, text: 'two'});
    backend.emit('create', {id: 2, text: 'new'});
    await until(() => a.length === 2 && a.get(1).get('text') === 'two');
    const events = [];
    if (backbone !== '1.1.2') a.on('add remove', () => events.push('flicker'));
    release();
    await settled(a);
    assert.deepEqual(content(a), store());
    assert.deepEqual(events, []);
    backend.emit('delete', {id: 1});
    await until(() => a.length === 1);
  });

  test('follow: a collection with a sync of its own', async () => {
    backend.emit('create', {id: 1, text: 'one'});
    const C = window.Backbone.Collection.extend({
      url: '/tasks',
      sync(method, object, options) { return window.Backbone.ajax({type: 'GET', url: '/tasks', ...options}); }
    });
    const a = new C();
    assert.equal(window.Backbone.io.follow(a, 'tasks'), a);
    await live(a);
    a.fetch();
    await until(() => a.length === 1);
    held = [];
    a.fetch();
    await until(() => held.length);
    backend.emit('update', {id: 1, text: 'new'});
    await until(() => a.get(1).get('text') === 'new');
    release();
    await settled(a);
    assert.deepEqual(content(a), store());
  });

  for (const way of ['set', 'reset']) test(`follow: a collection with a fetch of its own, that uses ${way}`, async () => {
    for (const id of [1, 2]) backend.emit('create', {id, text: 'old'});
    const parses = [];
    const a = new (window.Backbone.Collection.extend({
      model: window.Backbone.Model.extend({parse(row) { parses.push(row); return row; }}),
      async fetch() {
        const {body} = await rest({type: 'GET', url: '/tasks'});
        return this[way](body);
      }
    }))();
    window.Backbone.io.follow(a, {name: 'tasks'});
    await live(a);
    a.fetch();
    await until(() => a.length === 2);
    assert.deepEqual(parses, []);
    held = [];
    a.fetch();
    await until(() => held.length);
    backend.emit('update', {id: 1, text: 'new'});
    backend.emit('delete', {id: 2});
    await until(() => a.length === 1);
    release();
    await settled(a);
    assert.deepEqual(content(a), store());
    // What the page sets on its own account is its own.
    a.set([{id: 9}]);
    assert.deepEqual(content(a), [{id: 9}]);
  });

  test('nothing is left behind by answers that never come', async () => {
    const timers = [];
    window.setTimeout = (fn, delay) => { timers.push([fn, delay]); return {unref() {}}; };
    const a = await live(make());
    window.Backbone.ajax = () => Promise.resolve();
    a.fetch();
    await until(() => timers.some(([, delay]) => delay === 10000));
    assert.equal(a.backend.requests.size, 1);
    timers.find(([, delay]) => delay === 10000)[0]();
    assert.equal(a.backend.requests.size, 0);
    window.Backbone.ajax = () => { throw new Error('offline'); };
    assert.throws(() => a.fetch(), /offline/);
    assert.equal(a.backend.requests.size, 0);
  });
});
