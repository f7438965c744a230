// What every page relies on, with each Backbone there is, Underscore and lodash, with
// and without jQuery.
'use strict';

const {test, describe, before, after, beforeEach, afterEach} = require('node:test');
const assert = require('node:assert/strict');
const {JSDOM} = require('jsdom');
const {Mock} = require('./mock.js');
const {page, event, until, VERSIONS} = require('./page.js');

const jquery = require('jquery')(new JSDOM('').window);
const json = value => JSON.parse(JSON.stringify(value));

for (const backbone of VERSIONS) for (const lodash of [false, true]) for (const $ of [undefined, jquery]) {
  describe(`Backbone ${backbone}, ${lodash ? 'lodash' : 'Underscore'}, ${$ ? 'with' : 'without'} jQuery`, () => {
    let mock, backend, here, there;

    before(async () => { mock = await new Mock(['messages', 'others']).start(); });
    after(() => mock.stop());
    beforeEach(() => {
      backend = mock.backends.messages;
      here = page({backbone, lodash, jquery: $});
      there = page({backbone, lodash, jquery: $});
    });
    afterEach(() => { here.close(); there.close(); backend.models.clear(); });

    const collection = (window, attrs, options) => {
      const Bound = window.Backbone.Collection.extend({backend: 'messages', ...attrs});
      return new Bound(null, options).bindBackend();
    };
    const live = async (...objects) => {
      await Promise.all(objects.map(o => o.backend.connected || event(o, 'backend:connect')));
    };
    const both = async (attrs) => {
      const a = collection(here, attrs), b = collection(there, attrs);
      here.connect(mock.url);
      there.connect(mock.url);
      await live(a, b);
      return [a, b];
    };

    test('create, update, patch and delete reach other pages', async () => {
      const [a, b] = await both();
      const calls = [];
      b.on('backend', (method, model) => calls.push([method, model.text]));
      const model = a.create({text: 'one'}, {wait: true});
      await until(() => b.length === 1 && a.length === 1);
      assert.deepEqual(json(b.toJSON()), json(a.toJSON()));

      model.save({text: 'two'});
      await until(() => b.at(0).get('text') === 'two');
      model.save({text: 'three'}, {patch: true});
      await until(() => b.at(0).get('text') === 'three');
      assert.deepEqual(json(backend.requests.at(-1).model), {id: model.id, text: 'three'});

      b.at(0).destroy({wait: true});
      await until(() => a.length === 0 && b.length === 0);
      assert.deepEqual(calls, [['create', 'one'], ['update', 'two'], ['update', 'three']]);
    });

    test('fetching a collection and a model', async () => {
      backend.models.set(1, {id: 1, text: 'one'}).set(2, {id: 2, text: 'two'});
      const [a] = await both();
      const order = [];
      a.on('request', (m, xhr, options) => order.push(['request', m === a, !!xhr.then, options.xhr === xhr]));
      a.on('sync', (m, resp) => order.push(['sync', m === a, resp.length]));
      const promise = a.fetch({success: (c, resp) => order.push(['success', c === a, resp.length])});
      assert.equal((await promise).length, 2);
      assert.deepEqual(order, [['request', true, true, true], ['success', true, 2], ['sync', true, 2]]);
      assert.deepEqual(json(a.map(m => m.get('text'))), ['one', 'two']);
      backend.models.set(1, {id: 1, text: 'ONE'});
      await a.get(1).fetch();
      assert.equal(a.get(1).get('text'), 'ONE');
    });

    test('an error reaches callbacks, events and the promise', async () => {
      const [a] = await both();
      a.add({id: 99, text: 'nowhere'});
      const model = a.get(99), seen = [];
      a.on('error', (m, resp) => seen.push(['collection', m === model, resp.error.name]));
      const failed = await new Promise(resolve => {
        const promise = model.save({text: 'x'}, {error: (m, resp) => seen.push(['callback', m === model, resp.error.message])});
        promise.then(null, resolve);
      });
      assert.equal(failed.error.name, 'NotFound');
      assert.deepEqual(seen, [['callback', true, 'no such model'], ['collection', true, 'NotFound']]);
    });

    test('wait: true shows nothing before the answer', async () => {
      let go;
      backend.before = () => new Promise(resolve => { go = resolve; });
      try {
        const [a] = await both();
        const model = a.create({text: 'slow'}, {wait: true});
        await until(() => go);
        assert.equal(a.length, 0);
        assert.ok(model.isNew());
        go();
        await until(() => a.length === 1);
        assert.equal(a.at(0), model);
      } finally { backend.before = async () => {}; }
    });

    test('validation is Backbone\'s', async () => {
      const Model = here.Backbone.Model.extend({validate: attrs => attrs.text ? undefined : 'empty'});
      const [a] = await both({model: Model});
      const count = backend.requests.length;
      const model = new Model({}, {collection: a});
      assert.equal(model.save(), false);
      assert.equal(model.validationError, 'empty');
      assert.equal(backend.requests.length, count);
    });

    test('parse, of model and collection, shapes answers and events alike', async () => {
      const attrs = window => ({
        model: window.Backbone.Model.extend({parse: row => row.data ? {id: row.data.id, text: row.data.text + '!'} : row}),
        parse: answer => answer.rows
      });
      backend.handler = request => request.method === 'read' ? {rows: [{data: {id: 1, text: 'fetched'}}]} : {data: request.model};
      try {
        const a = collection(here, attrs(here)), b = collection(there, attrs(there));
        here.connect(mock.url);
        there.connect(mock.url);
        await live(a, b);
        await a.fetch();
        await b.fetch();
        assert.equal(a.get(1).get('text'), 'fetched!');
        await a.get(1).save({text: 'saved'});
        assert.equal(a.get(1).get('text'), 'saved!');
        await until(() => b.get(1).get('text') === 'saved!');
      } finally { backend.handler = null; }
    });

    test('idAttribute and a polymorphic model', async () => {
      const attrs = window => {
        const Base = window.Backbone.Model.extend({idAttribute: '_id'});
        const Odd = Base.extend({odd: true});
        const model = function(row, options) { return row._id % 2 ? new Odd(row, options) : new Base(row, options); };
        model.prototype = Base.prototype;
        return {model};
      };
      const b = collection(there, attrs(there));
      there.connect(mock.url);
      await live(b);
      backend.emit('create', {_id: 1, text: 'a'});
      backend.emit('create', {_id: 2, text: 'b'});
      backend.emit('update', {_id: 2, text: 'c'});
      await until(() => b.length === 2 && b.get(2).get('text') === 'c');
      assert.equal(b.get(1).odd, true);
      assert.equal(b.get(2).odd, undefined);
      backend.emit('delete', {_id: 1});
      await until(() => b.length === 1);
    });

    test('a function that chooses the class need not tell the ids', async () => {
      const Odd = here.Backbone.Model.extend({idAttribute: '_id'});
      const a = collection(here, {model: function(row, options) { return new Odd(row, options); }});
      here.connect(mock.url);
      await live(a);
      backend.emit('create', {_id: 1, text: 'a'});
      backend.emit('create', {_id: 2, text: 'b'});
      await until(() => a.length === 2);
      assert.deepEqual(json(a.map(m => m.id)), [1, 2]);
    });

    if (backbone >= '1.2') test('modelId, also where model is a method', async () => {
      const method = backbone >= '1.6' ? 'model(row, options) { return new Backbone.Model(row, options); }' : '';
      const a = here.eval(`new (class extends Backbone.Collection {
        ${method}
        get backend() { return 'messages'; }
        modelId(row) { return row.kind + row.id; }
      })`).bindBackend();
      here.connect(mock.url);
      await live(a);
      backend.changed('create', {kind: 'dvd', id: 1, text: 'a'});
      backend.changed('create', {kind: 'vhs', id: 1, text: 'b'});
      await until(() => a.length === 2);

      // The answer to a fetch is older than what is heard meanwhile.
      let open;
      backend.handler = () => [{kind: 'dvd', id: 1, text: 'a'}, {kind: 'vhs', id: 1, text: 'b'}];
      backend.after = () => new Promise(resolve => { open = resolve; });
      try {
        const fetched = a.fetch();
        await until(() => open);
        backend.changed('update', {kind: 'dvd', id: 1, text: 'c'});
        backend.changed('delete', {kind: 'vhs', id: 1});
        await until(() => a.length === 1);
        open();
        await fetched;
      } finally { Object.assign(backend, {handler: null, after: async () => {}}); }
      assert.deepEqual(json(a.toJSON()), [{kind: 'dvd', id: 1, text: 'c'}]);
    });

    test('what is created without an id is added, too', async () => {
      backend.handler = request => request.model;
      try {
        const [a, b] = await both();
        a.create({text: 'one'});
        a.create({text: 'two'}, {wait: true});
        await until(() => b.length === 2 && a.length === 2);
        assert.deepEqual(json(b.map(m => m.get('text'))), ['one', 'two']);
      } finally { backend.handler = null; }
    });

    test('an update of what is not there adds nothing', async () => {
      const [a] = await both();
      backend.emit('update', {id: 5, text: 'who?'});
      backend.emit('create', {id: 6, text: 'me'});
      await until(() => a.get(6));
      assert.equal(a.get(5), undefined);
    });

    test('a bound model follows its own id', async () => {
      const Model = here.Backbone.Model.extend({backend: {name: 'messages'}});
      const model = new Model({id: 1, text: 'one'}).bindBackend();
      here.connect(mock.url);
      await event(model, 'backend:connect');
      backend.emit('update', {id: 2, text: 'other'});
      backend.emit('update', {id: 1, text: 'mine'});
      await until(() => model.get('text') === 'mine');
      const destroyed = event(model, 'destroy');
      backend.emit('delete', {id: 1});
      await destroyed;
    });

    test('a backend given as an option, a function, a getter or a class field', async () => {
      const {Backbone} = here;
      here.connect(mock.url);
      const objects = [
        new Backbone.Collection(null, {backend: 'messages'}),
        new Backbone.Collection([{id: 1}, {id: 2}], {backend: {name: 'messages', channel: 'room'}}),
        new Backbone.Collection(null, {backend() { return {name: 'messages', channel: this === objects[2] ? 'mine' : 'no'}; }}),
        new Backbone.Model({id: 1}, {backend: 'messages'}),
        here.eval(`new (class extends Backbone.Collection { get backend() { return 'messages'; } })`),
        here.eval(`new (class extends Backbone.Collection { backend = {name: 'messages', channel: 'field'}; })`),
        here.eval(`new (class extends Backbone.Collection {
          constructor(models, options) { super(models, options); this.room = options.room; }
          get backend() { return {name: 'messages', channel: this.room}; }
        })([], {room: 7})`),
        here.eval(`new (class extends Backbone.Model { backend = 'messages'; })`)
      ];
      await live(...objects);
      assert.deepEqual(objects.map(o => o.backend.name), objects.map(() => 'messages'));
      assert.deepEqual(objects.map(o => o.backend.channel), [null, 'room', 'mine', null, null, 'field', '7', null]);
      assert.equal(objects[1].length, 2);
      assert.equal(Object.hasOwn(objects[1].at(0), 'backend'), false);
    });

    test('initialize sees the backend, and classes made before take part', async () => {
      let Early, seen;
      const window = page({backbone, lodash, jquery: $, before({Backbone}) {
        Early = Backbone.Collection.extend({
          initialize() { seen = this.backend.name; this.bindBackend(); }
        });
      }});
      try {
        const early = new Early(null, {backend: 'messages'});
        assert.equal(seen, 'messages');
        assert.ok(early instanceof window.Backbone.Collection);
        window.connect(mock.url);
        await event(early, 'backend:connect');
        backend.emit('create', {id: 3});
        await until(() => early.length === 1);
      } finally { window.close(); }
    });

    test('without a backend everything is as it was', async () => {
      const {Backbone} = here, requests = [];
      Backbone.ajax = params => { requests.push(params); params.success([{id: 1}]); return 'xhr'; };
      const C = Backbone.Collection.extend({url: '/things'});
      const c = new C([{id: 5, a: 1}], {some: 'option'});
      assert.equal(c.fetch(), 'xhr');
      assert.equal(requests[0].url, '/things');
      assert.deepEqual(json(c.toJSON()), [{id: 1}]);
      assert.deepEqual(Object.keys(c.at(0)).filter(key => /backend/i.test(key)), []);
      assert.deepEqual(Object.keys(c).filter(key => /backend|initialize|parse/i.test(key)), []);
    });

    test('connecting first or last, with either name', async () => {
      const {Backbone} = here;
      assert.equal(Backbone.io, Backbone.IO);
      const c = new Backbone.Collection(null, {backend: 'messages'});
      const promise = c.fetch();
      const socket = Backbone.io(mock.url, {forceNew: true, transports: ['websocket']});
      try {
        assert.equal(typeof socket.emit, 'function');
        await promise;
      } finally { socket.disconnect(); }
    });
  });
}
