// Rows as the server sends them: each finds its model whatever its id and attributes are
// called, and a model has what the server has, and what the page has newer.
'use strict';

const {test, describe, beforeEach, afterEach} = require('node:test');
const assert = require('node:assert/strict');
const {Mock} = require('./mock.js');
const {page, event, until, VERSIONS} = require('./page.js');

const json = value => JSON.parse(JSON.stringify(value));

for (const backbone of VERSIONS) describe('Backbone ' + backbone, () => {
  let mock, backend, window, held, release;

  beforeEach(async () => {
    mock = await new Mock().start();
    backend = mock.backends.messages;
    window = page({backbone});
    window.connect(mock.url);
  });
  afterEach(async () => {
    window.close();
    await mock.stop();
  });

  // Holds the answers to these methods back until `release` is called, or one at a time.
  function hold(...methods) {
    held = [];
    backend.after = request => (methods.includes(request.method) ? new Promise(resolve => held.push(resolve)) : undefined);
    release = () => { backend.after = async () => {}; held.splice(0).forEach(open => open()); };
  }

  async function bound(attrs, models) {
    const collection = new (window.Backbone.Collection.extend({backend: 'messages', ...attrs}))(models).bindBackend();
    await event(collection, 'backend:connect');
    return collection;
  }
  const content = collection => json(collection.toJSON()).sort((a, b) => String(a.id).localeCompare(String(b.id)));
  const store = () => json([...backend.models.values()]).sort((a, b) => String(a.id).localeCompare(String(b.id)));
  // Changes the store as somebody else's save of the whole row does.
  function put(model, method = 'update') {
    backend.models.set(model.id, model);
    return backend.changed(method, model, null);
  }

  describe('one model is not taken for another', () => {
    test('an id that is a word of JavaScript\'s', async () => {
      const a = await bound(), ids = [1, 2, 3, 'undefined', 'null', '[object Object]', 'NaN', '', 0, 4, 5, 6];
      for (const id of ids) backend.emit('create', {id, text: 'id ' + id});
      await until(() => a.length === ids.length);
      assert.deepEqual(content(a), store());
      const plain = new (window.Backbone.Collection.extend({backend: 'messages'}))();
      await plain.fetch();
      assert.deepEqual(content(plain), store());
      for (const id of ids) assert.equal(plain.get(id).get('text'), 'id ' + id);
      backend.emit('update', {id: 'undefined', text: 'changed'});
      backend.emit('delete', {id: 'null'});
      await until(() => a.length === ids.length - 1);
      assert.deepEqual(content(a), store());
    });

    test('attributes that every object has are there when a model is added', async () => {
      const a = await bound(), added = [];
      a.on('add', model => added.push(json(model.attributes)));
      const row = {id: 1, toString: 'x', valueOf: 1, constructor: 'c', hasOwnProperty: null, text: 't'};
      backend.emit('create', row);
      await until(() => a.length === 1);
      const plain = new (window.Backbone.Collection.extend({backend: 'messages'}))();
      plain.on('add', model => added.push(json(model.attributes)));
      await plain.fetch();
      assert.deepEqual(added, [json(row), json(row)]);
    });

    test('an id that is the cid of another fetched model stays through every fetch', async () => {
      const a = await bound();
      backend.emit('create', {id: 'first', text: 'the first'});
      await until(() => a.length === 1);
      for (const id of [a.at(0).cid, 'last']) backend.emit('create', {id, text: 'id ' + id});
      await until(() => a.length === 3);
      const models = [...a.models];
      for (let i = 0; i < 3; i++) {
        await a.fetch();
        assert.deepEqual(content(a), store());
        assert.ok(models.every(model => a.get(model) === model && a.get(model.id) === model));
      }
    });

    for (const how of ['event', 'fetch', 'fetch with reset', 'reset']) test(`an id that is a cid, by ${how}`, async () => {
      const a = await bound();
      a.add({text: 'the page\'s'});
      const mine = a.at(0), rows = [{id: 'other', text: 'another'}, {id: mine.cid, text: 'somebody\'s'}, {id: 'last', text: 'last'}];
      if (how === 'event') rows.forEach(row => backend.emit('create', row));
      else for (const row of rows) backend.models.set(row.id, row);
      if (how === 'reset') backend.changed('reset', rows);
      else if (how !== 'event') await a.fetch({remove: false, reset: how === 'fetch with reset'});
      await until(() => a.findWhere({text: 'last'}));
      const theirs = a.findWhere({text: 'somebody\'s'});
      assert.ok(theirs && theirs !== mine);
      assert.equal(mine.id, undefined);
      assert.equal(mine.get('text'), 'the page\'s');
      assert.equal(a.get(theirs.id), theirs);
      assert.ok(a.every(model => a.get(model) === model));
      if (how === 'event' || how === 'fetch') {
        assert.equal(a.get(mine), mine);
        // The page's next save goes to the right row, and so does its removal.
        await mine.save();
        assert.deepEqual(backend.requests.at(-1).method, 'create');
        backend.emit('update', {id: theirs.id, text: 'changed'});
        await until(() => theirs.get('text') === 'changed');
        assert.equal(mine.get('text'), 'the page\'s');
        a.remove(theirs);
        assert.deepEqual([a.get(mine), a.get(mine.id), a.get(theirs.id)], [mine, mine, mine]);
        a.remove(mine);
        assert.equal(a.models.indexOf(mine), -1);
      }
      assert.equal(new Set(a.map(model => model.cid)).size, a.length);
    });

    test('a model whose cid is another\'s id keeps its place in a fetch of all', async () => {
      const a = await bound();
      backend.emit('create', {id: 'first', text: 'first'});
      await until(() => a.length === 1);
      const first = a.at(0);
      backend.models.clear();
      for (const row of [{id: 'first', text: 'first'}, {id: first.cid, text: 'clash'}]) backend.models.set(row.id, row);
      await a.fetch();
      assert.deepEqual(json(a.pluck('text')), ['first', 'clash']);
      assert.equal(a.length, a.models.length);
      assert.equal(a.at(0), first);
      assert.match(first.cid, /^c\d+$/);
      backend.models.delete('first');
      await a.fetch();
      assert.deepEqual(json(a.pluck('text')), ['clash']);
    });

    test('attributes that are called like parts of objects', async () => {
      const a = await bound();
      a.add({text: 'the page\'s'});
      const cid = a.at(0).cid;
      const rows = [
        {id: 1, toString: 'x', valueOf: 1, hasOwnProperty: null, constructor: 'c', prototype: {}, length: 3},
        {id: 2, cid, attributes: {id: 1, text: 'inside'}, idAttribute: 'text', collection: 1, text: 'two'},
        {id: 3, idAttribute: 'cid', cid: 1, parse: 1, set: {}, models: [], isNew: false}
      ];
      rows.forEach(row => backend.emit('create', row));
      await until(() => a.length === 4);
      await a.fetch({remove: false});
      await a.fetch({remove: false});
      assert.deepEqual(json(a.models.filter(m => m.id).map(m => m.attributes)), json(rows));
      backend.emit('update', {...rows[0], toString: 'y'});
      await until(() => a.get(1).get('toString') === 'y');
      await a.get(1).fetch();
      assert.equal(a.length, 4);
      assert.deepEqual(json(a.at(0).attributes), {text: 'the page\'s'});
    });

    test('names with spaces are no events of Backbone\'s', async () => {
      const a = await bound(), heard = [];
      backend.emit('create', {id: 1, text: 'a'});
      await until(() => a.length === 1);
      const model = a.get(1);
      for (const name of ['destroy', 'remove', 'reset', 'mine']) a.on(name, () => heard.push(name));
      const evil = {id: 1, text: 'b', 'x destroy': 1, 'x remove reset': 1, ' destroy': 1, 'x\tmine': 1};
      backend.emit('update', evil);
      await until(() => model.get('text') === 'b');
      backend.models.set(1, {...evil, 'x destroy': 2});
      await model.fetch();
      backend.models.set(1, {...evil, 'x destroy': 3});
      await a.fetch();
      assert.equal(a.get(1), model);
      assert.deepEqual(heard, []);
      assert.equal(model.get('x destroy'), 3);
    });

    test('integers beyond 2^53 travel as strings', async () => {
      const a = await bound(), ids = ['653247040368672768', '653247040368672769'];
      for (const id of ids) backend.emit('create', {id, big: '9007199254740993'});
      await until(() => a.length === 2);
      assert.deepEqual(json(a.pluck('id')), ids);
      await a.get(ids[1]).save({text: 'saved'});
      assert.equal(backend.requests.at(-1).model.id, ids[1]);
      a.create({big: window.eval('2n ** 60n'), small: window.eval('7n')}, {data: {big: window.eval('2n ** 60n')}});
      await until(() => backend.handled === 2);
      const {model, options} = backend.requests.at(-1);
      assert.deepEqual([model.big, model.small, options.data.big], ['1152921504606846976', 7, '1152921504606846976']);
    });
  });

  describe('the whole row', () => {
    beforeEach(() => { backend.whole = true; });

    for (const how of ['event', 'fetch', 'fetch with reset', 'single fetch', 'save', 'reset', 'fetch after a reset', 'missed']) {
      test(`an attribute that is sent no more goes away: ${how}`, async () => {
        const a = await bound();
        put({id: 1, text: 'one', s: 'set', t: 1}, 'create');
        if (how.includes('fetch')) await a.fetch();
        await until(() => a.length === 1);
        const model = a.get(1), changes = [];
        if (how !== 'fetch with reset') model.set({own: 'the page\'s'});
        model.on('change', () => changes.push(json(model.changedAttributes())));
        model.on('change:s', (m, value) => changes.push(['s', value === undefined, m.previous('s')]));
        const row = {id: 1, text: 'two', t: 1};
        if (how === 'event') put(row);
        else if (how === 'reset') backend.emit('reset', [row]);
        else if (how === 'missed') {
          mock.cut();
          await event(a, 'backend:disconnect');
          put(row);
        } else backend.models.set(1, row);
        if (how === 'fetch') await a.fetch();
        if (how === 'fetch with reset') await a.fetch({reset: true});
        if (how === 'single fetch') await model.fetch();
        if (how === 'fetch after a reset') { backend.journal.length = 0; backend.emit('reset', null); }
        if (how === 'save') { backend.handler = () => row; await model.save({text: 'two'}); }
        await until(() => a.get(1).get('text') === 'two' && !a.get(1).has('s'));
        assert.deepEqual(json(a.get(1).attributes), {...row, ...(how !== 'fetch with reset' && {own: 'the page\'s'})});
        assert.equal('s' in a.get(1).attributes, false);
        if (how === 'fetch with reset') return;
        assert.deepEqual(changes.find(Array.isArray), ['s', true, 'set']);
        if (how !== 'save') assert.deepEqual(changes.filter(change => !Array.isArray(change)), [{text: 'two'}]);
      });
    }

    test('nothing goes away with a row that is not whole', async () => {
      backend.whole = false;
      const a = await bound();
      put({id: 1, text: 'one', s: 'set'}, 'create');
      await until(() => a.length === 1);
      put({id: 1, text: 'two'});
      await until(() => a.get(1).get('text') === 'two');
      assert.equal(a.get(1).get('s'), 'set');
    });

    test('defaults, and what parse makes, go by what was sent', async () => {
      const model = window.Backbone.Model.extend({
        defaults: {kind: 'note', open: true},
        parse: row => (row.t === undefined ? row : {id: row.id, title: row.t})
      });
      const a = await bound({model});
      put({id: 1, t: 'one', kind: 'sent'}, 'create');
      put({id: 2, kind: 'sent', s: 1}, 'create');
      await until(() => a.length === 2);
      put({id: 2, text: 'x'});
      put({id: 1, t: 'two'});
      await until(() => a.get(1).get('title') === 'two');
      assert.deepEqual(json(a.get(1).attributes), {id: 1, title: 'two', kind: 'note', open: true});
      assert.deepEqual(json(a.get(2).attributes), {id: 2, text: 'x', open: true});
    });

    test('a newer answer from the log takes attributes away, too', async () => {
      const a = await bound();
      put({id: 1, text: 'one', s: 'set'}, 'create');
      await until(() => a.length === 1);
      hold('read');
      const fetched = a.fetch(), single = a.get(1).fetch();
      await until(() => held.length === 1);
      put({id: 1, text: 'two'});
      await until(() => a.get(1).get('text') === 'two');
      release();
      await Promise.all([fetched, single]);
      assert.deepEqual(content(a), store());
    });

    for (const wait of [false, true]) for (const had of [false, true]) {
      test(`an answer that is late brings nothing back (wait: ${wait}, had: ${had})`, async () => {
        const a = await bound(), saved = {by: 'me', n: 13, toString: 13};
        put({id: 1, by: 'first', ...(had && {n: 1, toString: 1})}, 'create');
        await until(() => a.length === 1);
        const model = a.get(1);
        model.set({mine: 'the page\'s'});
        // Handled, and the answer lost; what was saved is gone again before the answer is repeated.
        let cut = true;
        backend.after = async request => {
          if (request.method !== 'update' || !cut) return;
          cut = false;
          mock.cut();
          put({id: 1, by: 'newer'});
        };
        backend.handler = ({method, model: {id, by, n, toString}}) => backend.store({method, model: {id, by, n, toString}});
        await model.save(saved, {wait});
        assert.equal(backend.requests.length, 2);
        assert.deepEqual(json(model.attributes), {id: 1, by: 'newer', mine: 'the page\'s'});
      });
    }

    for (const wait of [false, true]) {
      test(`a create that is answered late, after a list that shows it changed (wait: ${wait})`, async () => {
        const a = await bound(), methods = new Set();
        backend.before = async request => {
          if (request.method === 'read' && !methods.size) await until(() => backend.requests.length === 2);
        };
        // Both answers are lost; what happened since is too much to be told.
        backend.after = async ({method}) => {
          if (methods.has(method)) return;
          methods.add(method);
          if (method === 'read') return void mock.cut();
          put({id: 1, by: 'newer'});
          backend.journal.length = 0;
        };
        const fetched = a.fetch(), created = a.create({by: 'me', n: 1}, {wait});
        await Promise.all([fetched, event(created, 'sync')]);
        assert.deepEqual(backend.requests.map(request => request.method), ['read', 'create', 'read', 'create']);
        assert.equal(a.get(1), created);
        assert.deepEqual(content(a), [{id: 1, by: 'newer'}]);
      });

      test(`what the server does not keep of a save stays the page's (wait: ${wait})`, async () => {
        const a = await bound();
        put({id: 1, n: 1}, 'create');
        await until(() => a.length === 1);
        backend.handler = ({method, model: {id, n}}) => backend.store({method, model: {id, n}});
        await a.get(1).save({n: 2, open: true}, {wait});
        assert.deepEqual(json(a.get(1).attributes), {id: 1, n: 2, open: true});
        put({id: 1, n: 3});
        await until(() => a.get(1).get('n') === 3);
        assert.deepEqual(json(a.get(1).attributes), {id: 1, n: 3, open: true});
      });
    }
  });

  describe('own newer changes', () => {
    beforeEach(() => { backend.whole = true; });

    async function one(row = {id: 1, v: 0, text: 'old', other: 'old'}) {
      const a = await bound();
      put(row, 'create');
      await until(() => a.length === 1);
      return a.get(1);
    }

    test('a slider that is saved while it moves never jumps back', async () => {
      const model = await one(), seen = [];
      model.on('change:v', () => seen.push(model.get('v')));
      hold('update');
      const saves = [];
      for (let v = 1; v <= 5; v++) saves.push(model.save({v}));
      for (let i = 0; i < 5; i++) {
        await until(() => held.length);
        held.shift()();
      }
      await Promise.all(saves);
      assert.deepEqual(seen, [1, 2, 3, 4, 5]);
      assert.equal(backend.models.get(1).v, 5);
      // What the server makes of the last one counts.
      backend.after = async () => {};
      backend.handler = request => ({...request.model, v: 6.5});
      await model.save({v: 6});
      assert.equal(model.get('v'), 6.5);
    });

    test('what was typed stays while another field changes elsewhere', async () => {
      const model = await one();
      model.set('text', 'typed');
      put({id: 1, v: 0, text: 'old', other: 'new'});
      await until(() => model.get('other') === 'new');
      assert.equal(model.get('text'), 'typed');
      await model.save();
      assert.equal(backend.models.get(1).text, 'typed');
      // Saved, it is the server's again.
      put({id: 1, v: 0, text: 'theirs', other: 'new'});
      await until(() => model.get('text') === 'theirs');
    });

    test('what is saved and not answered, or not sent, stays', async () => {
      const model = await one();
      const online = offline();
      await event(model.collection, 'backend:disconnect');
      const saved = model.save({text: 'mine'}, {patch: true});
      put({id: 1, v: 1, text: 'theirs', other: 'theirs'});
      hold('patch');
      online();
      await until(() => model.get('other') === 'theirs' && held.length);
      assert.equal(model.get('text'), 'mine');
      release();
      await saved;
      assert.deepEqual(json(model.attributes), {id: 1, v: 1, text: 'mine', other: 'theirs'});
      assert.deepEqual(store(), [json(model.attributes)]);
    });

    test('a fetch that was asked for before does not overwrite, one asked for after does', async () => {
      const model = await one();
      hold('read');
      const fetched = Promise.all([model.collection.fetch(), model.fetch()]);
      await until(() => held.length);
      model.set({text: 'typed'});
      release();
      await fetched;
      assert.equal(model.get('text'), 'typed');
      await model.fetch();
      assert.equal(model.get('text'), 'old');
    });

    test('a fetch that resets keeps what is being saved', async () => {
      const model = await one(), {collection} = model;
      backend.models.set(1, {id: 1, v: 9, text: 'old', other: 'old'});
      hold('read', 'patch');
      const fetched = collection.fetch({reset: true}), saved = model.save({text: 'mine'}, {patch: true});
      await until(() => held.length);
      held.shift()();
      await fetched;
      assert.deepEqual(json(collection.get(1).attributes), {id: 1, v: 9, text: 'mine', other: 'old'});
      await until(() => held.length);
      release();
      await saved;
      assert.deepEqual(content(collection), store());
    });

    test('refused, the server\'s value comes back', async () => {
      const model = await one();
      backend.handler = request => {
        if (request.model.v === 5) throw Object.assign(new Error('no'), {name: 'Invalid'});
        return backend.store(request);
      };
      hold('update');
      const saves = [4, 5].map(v => Promise.resolve(model.save({v})));
      await until(() => held.length === 1);
      put({...backend.models.get(1), text: 'theirs'});
      await until(() => model.get('text') === 'theirs');
      held.shift()();
      await saves[0];
      assert.equal(model.get('v'), 5);
      await until(() => held.length === 1);
      held.shift()();
      await assert.rejects(saves[1]);
      assert.equal(model.get('v'), 4);
    });

    test('refused, what was taken away meanwhile is away', async () => {
      const model = await one();
      backend.handler = request => {
        if (request.method !== 'read') throw Object.assign(new Error('no'), {name: 'Invalid'});
      };
      hold('update');
      const saved = Promise.resolve(model.save({text: 'mine'}));
      await until(() => held.length === 1);
      put({id: 1, v: 2});
      await until(() => model.get('v') === 2);
      assert.equal(model.get('text'), 'mine');
      release();
      await assert.rejects(saved);
      assert.deepEqual(json(model.attributes), {id: 1, v: 2});
    });

    test('refused while nothing was heard, the page stays as the user made it, until the next row', async () => {
      const model = await one();
      backend.handler = () => { throw Object.assign(new Error('no'), {name: 'Invalid'}); };
      await assert.rejects(Promise.resolve(model.save({text: 'mine'})));
      assert.equal(model.get('text'), 'mine');
      put({id: 1, v: 1, text: 'old', other: 'old'});
      await until(() => model.get('v') === 1);
      assert.equal(model.get('text'), 'old');
    });

    test('a save with wait: true that follows another does not hold back what others change', async () => {
      const model = await one();
      hold('update');
      const saves = [model.save({text: 'mine'}), model.save({text: 'waits'}, {wait: true})];
      await until(() => held.length === 1);
      put({id: 1, v: 0, text: 'theirs', other: 'old'});
      held.shift()();
      await saves[0];
      await until(() => model.get('text') === 'theirs');
      await until(() => held.length === 1);
      release();
      await saves[1];
      assert.equal(model.get('text'), 'waits');
    });

    test('an attribute that the page takes away stays away', async () => {
      const model = await one();
      hold('update');
      model.unset('text');
      const saved = model.save();
      await until(() => held.length);
      backend.io.emit('synced', 'update', {id: 1, v: 7, text: 'old', other: 'old'}, {rev: backend.rev - 0.5, channel: null, whole: true});
      await until(() => model.get('v') === 7);
      assert.equal('text' in model.attributes, false);
      release();
      await saved;
      assert.equal('text' in model.attributes, false);
    });

    test('what handlers set in reaction is no change of the user\'s', async () => {
      const model = await one();
      model.on('change:v', () => model.set('other', 'v is ' + model.get('v')));
      model.collection.on('backend:update', row => model.set(row));
      put({id: 1, v: 1, text: 'a', other: 'x'});
      await until(() => model.get('text') === 'a');
      put({id: 1, v: 1, text: 'b', other: 'y'});
      await until(() => model.get('text') === 'b');
      assert.equal(model.get('other'), 'y');
    });

    test('a model that is typed into while it is created keeps what was typed', async () => {
      const a = await bound();
      hold('create');
      const model = a.create({text: 'one', more: 1});
      await until(() => held.length);
      model.set('text', 'two');
      release();
      await until(() => !model.isNew());
      assert.equal(model.get('text'), 'two');
      await model.save();
      assert.deepEqual(content(a), store());
    });

    // Keeps the page offline until the function returned is called.
    function offline() {
      let blocked = true;
      mock.io.engine.use((req, res, next) => (blocked ? next(new Error('offline')) : next()));
      mock.cut();
      return () => { blocked = false; };
    }
  });

  describe('telling comes before applying', () => {
    test('handlers see what is changed as it was', async () => {
      const [a, b] = [await bound(), await bound()], seen = [];
      const note = name => (...args) => seen.push([name, ...json(args), json(a.toJSON()), json(b.toJSON())]);
      a.on('backend', note('a')).on('backend:create backend:update backend:delete', note('a:'));
      b.on('backend:create backend:update backend:delete', note('b:'));
      const [old, fresh] = [[{id: 1, text: 'one'}], [{id: 1, text: 'two'}]];
      backend.emit('create', old[0]);
      backend.emit('update', fresh[0]);
      backend.emit('delete', {id: 1});
      await until(() => seen.length === 9);
      assert.deepEqual(seen, [
        ['a', 'create', old[0], [], []], ['a:', old[0], [], []], ['b:', old[0], [], []],
        ['a', 'update', fresh[0], old, old], ['a:', fresh[0], old, old], ['b:', fresh[0], old, old],
        ['a', 'delete', {id: 1}, fresh, fresh], ['a:', {id: 1}, fresh, fresh], ['b:', {id: 1}, fresh, fresh]
      ]);
      await until(() => a.length === 0 && b.length === 0);
    });

    test('a handler that unbinds is the last that is told, and nothing is applied', async () => {
      const a = await bound();
      a.on('backend:create', () => a.unbindBackend());
      const b = await bound();
      backend.emit('create', {id: 1});
      await until(() => b.length === 1);
      assert.equal(a.length, 0);
    });
  });
});
