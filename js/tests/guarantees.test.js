// Nothing lost, doubled or reordered, as far as the browser has to see to it: lost
// connections, late and old answers, requests sent again.
'use strict';

const {test, describe, beforeEach, afterEach} = require('node:test');
const assert = require('node:assert/strict');
const {Mock} = require('./mock.js');
const {page, event, until} = require('./page.js');

const json = value => JSON.parse(JSON.stringify(value));

// A gate: `pass` holds until `open` is called.
function gate() {
  let open;
  const opened = new Promise(resolve => { open = resolve; });
  return {open, pass: () => opened};
}

for (const backbone of ['1.1.2', '1.6']) describe('Backbone ' + backbone, () => {
  let mock, backend, window, socket;

  beforeEach(async () => {
    mock = await new Mock(['messages', 'others']).start();
    backend = mock.backends.messages;
    window = page({backbone});
    socket = window.connect(mock.url);
  });
  afterEach(async () => {
    window.close();
    await mock.stop();
  });

  async function bound(spec = 'messages', attrs) {
    const collection = new (window.Backbone.Collection.extend({backend: spec, ...attrs}))().bindBackend();
    await event(collection, 'backend:connect');
    return collection;
  }
  const texts = collection => json(collection.map(m => m.get('text')));
  const store = () => json([...backend.models.values()]).sort((a, b) => a.id - b.id);
  const content = collection => json(collection.toJSON()).sort((a, b) => a.id - b.id);

  // Keeps the page offline until the function returned is called.
  function offline() {
    mock.io.engine.use((req, res, next) => (blocked ? next(new Error('offline')) : next()));
    let blocked = true;
    mock.cut();
    return () => { blocked = false; };
  }

  test('requests made while offline are sent in order when the network is back', async () => {
    const a = await bound();
    const down = event(a, 'backend:disconnect');
    const online = offline();
    await down;
    const model = a.create({text: 'one'});
    a.create({text: 'two'});
    model.set('text', 'changed afterwards');
    assert.equal(backend.requests.length, 0);
    online();
    await until(() => backend.requests.length === 2 && a.every(m => !m.isNew()));
    assert.deepEqual(backend.requests.map(r => r.model.text), ['one', 'two']);
    assert.equal(new Set(backend.requests.map(r => r.id)).size, 2);
    assert.equal(a.length, 2);
  });

  test('a request whose answer was lost is sent again with its id, and done once', async () => {
    const a = await bound();
    let cut = true;
    backend.after = async () => { if (cut) { cut = false; mock.cut(); } };
    const adds = [];
    const model = a.create({text: 'once'});
    a.on('add', m => adds.push(m.id));
    await event(model, 'sync');
    assert.equal(backend.handled, 1);
    assert.equal(backend.requests.length, 2);
    assert.equal(backend.requests[0].id, backend.requests[1].id);
    assert.equal(backend.listens[0].client, backend.listens[1].client);
    assert.deepEqual(content(a), [{id: 1, text: 'once'}]);
    assert.equal(a.at(0), model);
  });

  test('the same with wait: true, and with a second collection on the page', async () => {
    const [a, b] = await Promise.all([bound(), bound()]);
    let cut = true, created = 0;
    b.on('backend:create', () => created++);
    backend.after = async () => { if (cut) { cut = false; mock.cut(); } };
    const model = a.create({text: 'once'}, {wait: true});
    await event(model, 'sync');
    assert.equal(a.at(0), model);
    assert.deepEqual([a.length, b.length, created], [1, 1, 1]);
  });

  test('what was missed is applied as events, once, in order', async () => {
    const a = await bound();
    backend.emit('create', {id: 1, text: 'one'}, null);
    await until(() => a.length === 1);
    const down = event(a, 'backend:disconnect');
    const online = offline();
    await down;
    backend.emit('update', {id: 1, text: 'ONE'}, null);
    backend.emit('create', {id: 2, text: 'two'});
    backend.emit('create', {id: 9, text: 'elsewhere'}, 'other room');
    backend.emit('delete', {id: 1}, null);
    const seen = [];
    a.on('backend', (method, model) => seen.push([method, model.id]));
    online();
    await event(a, 'backend:connect');
    assert.deepEqual(seen, [['update', 1], ['create', 2], ['delete', 1]]);
    assert.deepEqual(texts(a), ['two']);
    assert.deepEqual(backend.listens[1].since, {epoch: 'e1', rev: 1});
  });

  test('a journal that no longer holds it: what was fetched is fetched again', async () => {
    backend.emit('create', {id: 1, text: 'gone soon'});
    const [a, unfetched] = await Promise.all([bound(), bound()]);
    await a.fetch({data: {room: 3}});
    const online = offline();
    await event(a, 'backend:disconnect');
    backend.emit('delete', {id: 1});
    backend.emit('create', {id: 2, text: 'new'});
    backend.journal.length = 0;
    const resets = [];
    a.on('backend:reset', () => resets.push('a'));
    unfetched.on('backend:reset', () => resets.push('unfetched'));
    online();
    await event(a, 'sync');
    assert.deepEqual(content(a), [{id: 2, text: 'new'}]);
    assert.deepEqual(resets, ['a', 'unfetched']);
    assert.equal(backend.requests.length, 2);
    assert.deepEqual(backend.requests[1].options.data, {room: 3});
  });

  test('after a reset every page of a list is fetched again, and what is gone goes', async () => {
    for (const id of [1, 2, 3, 4]) backend.emit('create', {id, text: 'old'});
    backend.handler = ({options: {data}}) => [...backend.models.values()].filter(m => data.ids.includes(m.id));
    const a = await bound();
    await a.fetch({data: {ids: [1, 2]}});
    for (let i = 0; i < 2; i++) await a.fetch({remove: false, data: {ids: [3, 4]}});
    const online = offline();
    await event(a, 'backend:disconnect');
    backend.emit('update', {id: 1, text: 'new'});
    backend.emit('delete', {id: 2});
    backend.emit('delete', {id: 3});
    backend.journal.length = 0;
    online();
    await until(() => backend.handled === 5 && a.backend.requests.size === 0);
    assert.deepEqual(content(a), [{id: 1, text: 'new'}, {id: 4, text: 'old'}]);
  });

  test('what is fetched again after a reset is bounded', async () => {
    const a = await bound();
    for (let page = 0; page < 150; page++) await a.fetch({remove: false, data: {page}});
    const before = backend.requests.length, online = offline();
    await event(a, 'backend:disconnect');
    backend.emit('create', {id: 1, text: 'one'});
    backend.journal.length = 0;
    online();
    await event(a, 'backend:connect');
    await until(() => a.backend.requests.size === 0);
    const pages = backend.requests.slice(before).map(r => r.options.data.page);
    assert.deepEqual(pages, Array.from({length: 100}, (_, i) => i + 50));
  });

  test('after a reset a bound model that is gone is destroyed', async () => {
    backend.emit('create', {id: 1, text: 'one'});
    const Model = window.Backbone.Model.extend({backend: 'messages'});
    const model = new Model({id: 1}).bindBackend(), unbound = new Model({id: 1});
    await event(model, 'backend:connect');
    await Promise.all([model.fetch(), unbound.fetch()]);
    let destroyed = 0;
    unbound.on('destroy', () => destroyed++);
    const online = offline();
    await event(model, 'backend:disconnect');
    backend.emit('delete', {id: 1});
    backend.journal.length = 0;
    online();
    await Promise.all([event(model, 'destroy'), event(unbound, 'error')]);
    assert.equal(destroyed, 0);
  });

  test('another epoch: fetch anew, and a write in doubt fails instead of being done twice', async () => {
    const a = await bound();
    await a.fetch();
    let cut = true;
    backend.after = async request => {
      if (request.method === 'create' && cut) { cut = false; backend.epoch = 'e2'; backend.rev = 0; mock.cut(); }
    };
    const model = a.create({text: 'in doubt'});
    const waiting = assert.rejects(Promise.resolve(model.save({text: 'waits for it'})), error => error.error.sent);
    const [, failure] = await event(model, 'error');
    assert.equal(failure.error.name, 'Unavailable');
    await waiting;
    await event(a, 'sync');
    assert.deepEqual(content(a), store());
    assert.equal(backend.handled, 3);
    backend.emit('create', {id: 7, text: 'rev 1 of the new epoch'});
    await until(() => a.get(7));
  });

  test('another epoch, and a server that vouches for what it was sent: sent again, done once', async () => {
    backend.vouches = true;
    const a = await bound();
    let cut = true;
    backend.after = async request => {
      if (request.method === 'create' && cut) { cut = false; backend.epoch = 'e2'; mock.cut(); }
    };
    const model = a.create({text: 'done'});
    await event(model, 'sync');
    assert.deepEqual(backend.listens[1].unanswered, [backend.requests[0].id]);
    assert.equal(backend.requests[1].id, backend.requests[0].id);
    assert.equal(backend.handled, 1);
    assert.deepEqual(content(a), store());
  });

  test('what the server cannot vouch for fails, the rest is sent again', async () => {
    backend.vouches = true;
    const a = await bound(), online = gate();
    let lost = 0;
    backend.before = async () => { if (!lost++) { mock.cut(); await online.pass(); } };
    const one = a.create({text: 'one'}), two = a.create({text: 'two'}), read = a.sync('read', a, {timeout: 5000});
    for (const [, failure] of await Promise.all([event(one, 'error'), event(two, 'error')])) {
      assert.deepEqual([failure.error.name, failure.error.sent], ['Unavailable', true]);
    }
    assert.equal(backend.listens[1].unanswered.length, 3);
    await read;
    online.open();
  });

  test('what is unanswered is told for all channels at once', async () => {
    backend.vouches = true;
    const a = await bound(), room = await bound({name: 'messages', channel: 'room'});
    let cut = true;
    backend.after = async request => { if (request.model.text === 'two' && cut) { cut = false; mock.cut(); } };
    const models = [a.create({text: 'one'}), room.create({text: 'two'})];
    await Promise.all(models.map(model => event(model, 'sync')));
    assert.deepEqual(backend.listens[2].unanswered, backend.listens[3].unanswered);
    assert.ok(backend.listens[2].unanswered.includes(backend.requests[1].id));
    assert.equal(backend.handled, 2);
  });

  test('how long ago it was sent does not matter', async () => {
    const a = await bound();
    let cut = true;
    backend.after = async () => { if (cut) { cut = false; window.eval('Date.now = () => 1e15'); mock.cut(); } };
    await event(a.create({text: 'once'}), 'sync');
    assert.deepEqual([backend.handled, backend.requests.length], [1, 2]);
  });

  test('a reset that asks for patience: each fetches at a moment of its own', async () => {
    const a = await bound();
    await a.fetch();
    const delays = [];
    window.setTimeout = (fn, delay) => { delays.push([fn, delay]); return 1; };
    window.eval('Math.random = () => 0.25');
    backend.retryAfter = 8000;
    backend.journal.length = 0;
    backend.epoch = 'e2';
    mock.cut();
    await Promise.all([event(a, 'backend:reset'), event(a, 'backend:connect')]);
    assert.equal(backend.requests.length, 1);
    assert.deepEqual(delays.map(([, delay]) => delay), [2000]);
    const fetched = event(a, 'sync');
    delays[0][0]();
    await fetched;
    assert.equal(backend.requests.length, 2);
  });

  test('a request that times out at the head of the queue holds nothing back', async () => {
    const held = gate();
    backend.joining = request => (request.channel === 'slow' ? held.pass() : undefined);
    const slow = new (window.Backbone.Collection.extend({backend: {name: 'messages', channel: 'slow'}}))();
    const a = await bound();
    const first = Promise.resolve(slow.fetch({timeout: 20}));
    const second = a.fetch();
    await assert.rejects(first, error => error.error.name === 'Timeout');
    await second;
    held.open();
  });

  test('a patch while the create is under way is only the patch', async () => {
    for (const wait of [false, true]) {
      const a = await bound(), held = gate();
      backend.requests.length = 0;
      backend.before = () => held.pass();
      const model = a.create({text: 'one', more: 1});
      const saves = [model.save({more: 2}, {patch: true, wait}), model.save({last: 3}, {patch: true, wait})];
      await until(() => backend.requests.length);
      held.open();
      await Promise.all(saves);
      assert.deepEqual(backend.requests.map(r => [r.method, r.model]), [
        ['create', {text: 'one', more: 1}], ['patch', {id: model.id, more: 2}], ['patch', {id: model.id, last: 3}]
      ]);
      assert.deepEqual(json(model.attributes), {id: model.id, text: 'one', more: 2, last: 3});
    }
  });

  test('an old fetch does not overwrite, remove or bring back', async () => {
    for (const id of [1, 2]) backend.emit('create', {id, text: 'old'});
    const [a, b] = [await bound(), await bound()];
    await a.fetch();
    const held = gate();
    backend.after = request => (request.method === 'read' ? held.pass() : undefined);
    const fetches = [a.fetch(), b.fetch()];
    await until(() => backend.handled === 2);
    backend.emit('update', {id: 1, text: 'new'});
    backend.emit('delete', {id: 2});
    backend.emit('create', {id: 3, text: 'created'});
    await until(() => a.get(3));
    const events = [];
    a.on('add remove change', (...args) => events.push(args));
    held.open();
    await Promise.all(fetches);
    assert.deepEqual(content(a), [{id: 1, text: 'new'}, {id: 3, text: 'created'}]);
    assert.deepEqual(events, []);
    // b had followed the events, too, except for what it had not fetched yet
    assert.deepEqual(content(b), [{id: 1, text: 'new'}, {id: 3, text: 'created'}]);
  });

  test('an old fetch is brought up to date also where no event is applied', async () => {
    backend.emit('create', {id: 1, text: 'old', kept: true});
    backend.emit('create', {id: 2, text: 'doomed'});
    const plain = new (window.Backbone.Collection.extend({backend: 'messages'}))();
    const held = gate();
    backend.after = () => held.pass();
    const fetched = plain.fetch();
    await until(() => backend.handled === 1);
    backend.changed('update', {id: 1, text: 'new'});
    backend.emit('delete', {id: 2});
    await event(plain, 'backend:delete');
    held.open();
    await fetched;
    assert.deepEqual(content(plain), [{id: 1, text: 'new', kept: true}]);
  });

  test('what the page itself has under way survives a fetch', async () => {
    backend.emit('create', {id: 1, text: 'one'});
    const a = await bound('messages', {
      model: window.Backbone.Model.extend({parse(row) { assert.ok(row.text); return {...row, text: row.text}; }})
    });
    await a.fetch();
    const held = gate();
    backend.after = request => (request.method === 'read' ? held.pass() : undefined);
    const fetched = a.fetch();
    await until(() => backend.handled === 2);
    const created = a.create({text: 'local'});
    const saved = created.save({text: 'saved again'});
    a.get(1).destroy();
    const events = [];
    a.on('add remove', () => events.push('flicker'));
    held.open();
    await fetched;
    assert.deepEqual(events, []);
    assert.equal(a.length, 1);
    await saved;
    await until(() => !created.isNew() && backend.models.size === 1);
    assert.deepEqual(content(a), store());
  });

  test('a fetch that makes new models is no exception', async () => {
    backend.emit('create', {id: 1, text: 'one'});
    const a = await bound();
    await a.fetch();
    const reads = gate(), writes = gate();
    backend.after = request => (request.method === 'read' ? reads.pass() : writes.pass());
    const fetched = a.fetch({reset: true});
    const saved = a.get(1).save({text: 'saved'}, {wait: true});
    const created = a.create({text: 'local'});
    backend.emit('create', {id: 7, text: 'created'});
    await until(() => a.get(7) && backend.handled === 2);
    const before = a.get(1);
    reads.open();
    await fetched;
    assert.notEqual(a.get(1), before);
    assert.ok(a.get(created) && a.get(7));
    writes.open();
    await saved;
    await until(() => !created.isNew());
    assert.deepEqual(content(a), store());
  });

  test('a model that is removed while it is being created comes back with its answer', async () => {
    const a = await bound();
    const held = gate();
    backend.after = () => held.pass();
    const models = ['destroy', 'remove'].map(how => {
      const model = a.create({text: how});
      if (how === 'destroy') model.destroy(); else a.remove(model);
      return model;
    });
    assert.equal(a.length, 0);
    held.open();
    await until(() => a.length === 2);
    assert.deepEqual(models.map(model => a.get(model.id)), models);
    assert.deepEqual(content(a), store());

    const unbound = new (window.Backbone.Collection.extend({backend: 'messages'}))();
    const model = unbound.create({text: 'removed'});
    unbound.remove(model);
    await event(model, 'sync');
    assert.equal(unbound.length, 0);
  });

  test('a create that timed out and was dropped by a fetch comes back with its late answer', async () => {
    const a = await bound();
    const held = gate();
    backend.after = request => (request.method === 'read' ? held.pass() : undefined);
    const fetched = a.fetch();
    const model = a.create({text: 'local'}, {timeout: 20});
    await event(a, 'error');
    held.open();
    await fetched;
    assert.equal(a.get(model), undefined);
    await until(() => a.length === 1);
    assert.deepEqual(content(a), store());
  });

  for (const wait of [false, true]) test(`a model saved again while it is created (wait: ${wait}) is one`, async () => {
    const [a, b] = await Promise.all([bound(), bound()]);
    backend.handler = request => backend.store({
      ...request, model: request.method === 'create' ? {...request.model, author: 'server'} : request.model
    });
    const online = offline();
    await event(a, 'backend:disconnect');
    const model = a.create({text: 'one'}, {wait});
    model.save({text: 'two'});
    const saved = model.save({more: 3}, {patch: true});
    a.create({text: 'behind it'});
    online();
    await saved;
    await until(() => a.length === 2 && b.length === 2 && a.every(m => !m.isNew()));
    assert.deepEqual(backend.requests.map(r => r.method), ['create', 'update', 'patch', 'create']);
    assert.deepEqual(content(a)[0], {id: 1, text: 'two', more: 3, author: 'server'});
    for (const collection of [a, b]) assert.deepEqual(content(collection), store());
  });

  for (const wait of [false, true]) test(`what is saved on the second model of a repeated create (wait: ${wait}) stays`, async () => {
    const [a, b] = [await bound(), await bound()];
    const held = gate();
    let cut = true;
    backend.after = request => { if (request.method === 'create' && cut) { cut = false; mock.cut(); } };
    backend.before = request => (request.method === 'create' && !cut ? held.pass() : undefined);
    const model = a.create({text: 'one'});
    await until(() => a.get(1) && a.get(1) !== model);
    const saved = a.get(1).save({text: 'two'}, {wait});
    held.open();
    await saved;
    await until(() => a.length === 1);
    assert.equal(a.at(0), model);
    for (const collection of [a, b]) assert.deepEqual(content(collection), [{id: 1, text: 'two'}]);
  });

  test('a model that could not be created is created by the next save', async () => {
    const a = await bound();
    backend.handler = request => {
      if (request.model.text === '') throw Object.assign(new Error('empty'), {name: 'Invalid'});
      return backend.store(request);
    };
    const model = a.create({text: ''});
    await model.save({text: 'better'});
    assert.deepEqual(backend.requests.map(r => r.method), ['create', 'create']);
    assert.deepEqual(content(a), [{id: 1, text: 'better'}]);
  });

  test('a create that timed out and was tried again is one', async () => {
    const a = await bound();
    const held = gate();
    backend.after = () => held.pass();
    const model = a.create({text: 'impatient'}, {timeout: 20});
    await event(a, 'error');
    const saved = model.save({text: 'patient'});
    held.open();
    await saved;
    assert.deepEqual(backend.requests.map(r => r.method), ['create', 'update']);
    assert.equal(a.at(0), model);
    assert.deepEqual(content(a), [{id: 1, text: 'patient'}]);
    assert.deepEqual(content(a), store());
  });

  test('a change is heard once, whatever the server sends', async () => {
    const a = await bound();
    const heard = [];
    a.on('backend:create', row => heard.push(row.id));
    for (const rev of [1, 2, 2, 1, 3]) backend.io.emit('synced', 'create', {id: rev}, {rev});
    await until(() => a.get(3));
    assert.deepEqual(heard, [1, 2, 3]);
  });

  test('changes that overtake the answer to a listen wait for it', async () => {
    await bound();
    const held = gate();
    backend.emit('create', {id: 1, text: 'before'});
    backend.joining = () => held.pass();
    const room = new (window.Backbone.Collection.extend({backend: {name: 'messages', channel: 'room'}}))().bindBackend();
    await until(() => backend.listens.length === 2);
    backend.io.emit('synced', 'create', {id: 2, text: 'included'}, {rev: 2});
    backend.io.emit('synced', 'create', {id: 3, text: 'after'}, {rev: 3});
    backend.rev = 2;
    held.open();
    await event(room, 'backend:connect');
    assert.deepEqual(texts(room), ['after']);
  });

  test('nothing that Socket.IO has kept is sent before the page listens again', async () => {
    const a = await bound();
    socket.io.engine._hasPingExpired = () => true;
    a.create({text: 'kept'});
    assert.equal(backend.requests.length, 0);
    mock.cut();
    await event(a, 'sync');
    assert.equal(backend.requests.length, 1);
    assert.deepEqual(texts(a), ['kept']);
  });

  test('another epoch begins to count anew', async () => {
    const a = await bound();
    for (let i = 0; i < 5; i++) backend.emit(i ? 'update' : 'create', {id: 1, text: 'rev ' + (i + 1)});
    await until(() => a.length && a.get(1).get('text') === 'rev 5');
    backend.epoch = 'e2';
    backend.rev = 0;
    mock.cut();
    await event(a, 'backend:reset');
    backend.emit('update', {id: 1, text: 'new rev 1'});
    await until(() => a.get(1).get('text') === 'new rev 1');
  });

  test('an answer older than what was fetched before is not applied', async () => {
    backend.rev = 10;
    backend.models.set(1, {id: 1, text: 'rev 10'});
    const a = await bound();
    await a.fetch();
    backend.rev = 5;
    backend.models.set(1, {id: 1, text: 'rev 5'});
    await a.fetch();
    assert.deepEqual(texts(a), ['rev 10']);
    await a.get(1).fetch();
    assert.deepEqual(texts(a), ['rev 10']);
  });

  for (const wait of [false, true]) {
    test(`an old answer to a save (wait: ${wait}) succeeds without overwriting`, async () => {
      backend.emit('create', {id: 1, text: 'one', by: 'server'});
      const a = await bound();
      await a.fetch();
      const model = a.get(1);
      // Handled, and the answer lost; another change follows before the answer is repeated.
      let cut = true;
      backend.after = async request => {
        if (request.method !== 'update' || !cut) return;
        cut = false;
        mock.cut();
        backend.emit('update', {id: 1, text: 'newer', by: 'somebody'});
      };
      const order = [];
      model.on('sync', () => order.push('sync'));
      await model.save({text: 'mine'}, {wait, success: () => order.push('success')});
      assert.deepEqual(order, ['success', 'sync']);
      assert.deepEqual(json(model.attributes), {id: 1, text: 'newer', by: 'somebody'});
    });
  }

  test('an old answer to a create does not bring back what was deleted', async () => {
    for (const wait of [false, true]) {
      const a = await bound();
      let cut = true;
      backend.after = async request => {
        if (request.method !== 'create' || !cut) return;
        cut = false;
        mock.cut();
        backend.emit('delete', {id: backend.nextId - 1});
      };
      const model = a.create({text: 'short life'}, {wait});
      await event(model, 'sync');
      assert.equal(a.length, 0);
      a.unbindBackend();
    }
  });

  for (const parse of [true, false]) test(`an old single fetch (parse: ${parse}) does not overwrite`, async () => {
    backend.emit('create', {id: 1, text: 'old'});
    const a = await bound();
    await a.fetch();
    const held = gate();
    backend.after = () => held.pass();
    let given;
    const fetched = a.get(1).fetch({parse, success: (model, answer, options) => { given = options.parse; }});
    await until(() => backend.handled === 2);
    backend.emit('update', {id: 1, text: 'new'});
    await until(() => a.get(1).get('text') === 'new');
    held.open();
    await fetched;
    assert.equal(given, parse);
    assert.equal(a.get(1).get('text'), 'new');
  });

  test('events older than what was fetched are not applied', async () => {
    backend.emit('create', {id: 1, text: 'rev 1'});
    const a = await bound();
    backend.rev = 10;
    backend.models.set(1, {id: 1, text: 'rev 10'});
    await a.fetch();
    backend.io.emit('synced', 'update', {id: 1, text: 'rev 5'}, {rev: 5});
    backend.io.emit('synced', 'delete', {id: 1}, {rev: 6});
    backend.io.emit('synced', 'create', {id: 2, text: 'rev 7'}, {rev: 7});
    await until(() => a.get(2));
    assert.equal(a.get(1).get('text'), 'rev 10');
    backend.io.emit('synced', 'update', {id: 1, text: 'rev 11'}, {rev: 11});
    await until(() => a.get(1).get('text') === 'rev 11');
  });

  test('collections of one page keep each other in step; channels do not mix', async () => {
    const one = await bound(), two = await bound();
    const room = await bound({name: 'messages', channel: 'room'});
    const heard = [];
    two.on('backend:create', model => heard.push(model.text));
    room.on('backend', () => heard.push('room'));
    one.on('backend', () => heard.push('own'));
    one.create({text: 'hi'});
    await until(() => two.length === 1);
    assert.equal(backend.listens.length, 2);
    room.create({text: 'in the room'});
    await until(() => room.at(0).id);
    backend.emit('create', {id: 50, text: 'for all'});
    await until(() => one.get(50) && two.get(50) && room.get(50));
    assert.deepEqual(heard, ['hi', 'own', 'for all', 'room']);
    assert.deepEqual(texts(room), ['in the room', 'for all']);
    two.at(0).save({text: 'changed'});
    await until(() => one.at(0).get('text') === 'changed');
    one.at(0).destroy();
    await until(() => two.length === 1);
  });

  test('a reset with and without the new content', async () => {
    backend.emit('create', {id: 1, text: 'one'});
    const a = await bound();
    await a.fetch();
    const kept = a.get(1);
    backend.emit('reset', [{id: 1, text: 'ONE'}, {id: 5, text: 'five'}]);
    await event(a, 'backend:reset');
    assert.deepEqual(texts(a), ['ONE', 'five']);
    assert.equal(a.get(1), kept);
    backend.models.delete(1);
    backend.emit('reset', null);
    await event(a, 'sync');
    assert.deepEqual(content(a), store());
  });

  test('a request times out: unsent it is never sent', async () => {
    const a = await bound();
    const down = event(a, 'backend:disconnect');
    const online = offline();
    await down;
    const [, failure] = await event(a.create({text: 'no'}, {timeout: 20}), 'error');
    assert.equal(failure.error.name, 'Timeout');
    assert.equal(failure.error.sent, false);
    online();
    await event(a, 'backend:connect');
    await a.fetch();
    assert.deepEqual(backend.requests.map(r => r.method), ['read']);
  });

  for (const timeout of [0, Infinity]) test(`timeout: ${timeout} waits for ever`, async () => {
    window.Backbone.io.timeout = 20;
    const a = await bound();
    backend.after = () => new Promise(resolve => setTimeout(resolve, 40));
    await a.fetch({timeout});
  });

  test('a request times out: a late answer is applied as an event', async () => {
    window.Backbone.io.timeout = 20;
    const [a, b] = [await bound(), await bound()];
    const held = gate();
    backend.after = () => held.pass();
    const model = a.create({text: 'late'});
    const [, failure] = await event(model, 'error');
    assert.deepEqual([failure.error.name, failure.error.sent], ['Timeout', true]);
    held.open();
    await until(() => b.length === 1);
    assert.equal(model.id, 1);
    assert.deepEqual(content(a), store());
  });

  test('a request times out and its answer is lost: its change comes as a missed one', async () => {
    backend.emit('create', {id: 1, text: 'one'});
    const a = await bound();
    await a.fetch();
    const held = gate();
    backend.after = () => held.pass();
    a.get(1).save({text: 'two'}, {wait: true, timeout: 20});
    await event(a, 'error');
    await until(() => backend.requests.some(r => r.method === 'update'));
    mock.cut();
    await until(() => a.get(1).get('text') === 'two');
    assert.equal(backend.requests.filter(r => r.method === 'update').length, 1);
    held.open();
  });

  test('a refused listen: error events, failed requests, and another try', async () => {
    let allowed = false;
    backend.refuse = request => (allowed || request.channel === null ? null : {name: 'Unauthorized', message: 'log in first'});
    const C = window.Backbone.Collection.extend({backend: {name: 'messages', channel: 'private'}});
    const a = new C().bindBackend();
    const fetched = a.fetch();
    const [object, failure] = await event(a, 'error');
    assert.equal(object, a);
    assert.equal(failure.error.name, 'Unauthorized');
    await assert.rejects(Promise.resolve(fetched), error => error.error.name === 'Unauthorized');
    assert.equal(backend.requests.length, 0);
    allowed = true;
    await a.fetch();
    backend.emit('create', {id: 1}, 'private');
    await until(() => a.length === 1);
  });

  test('while the database is away we ask to listen again, and tell the page once', async () => {
    let away = 2;
    backend.refuse = () => (away-- > 0 ? {name: 'Unavailable', message: 'the database is away'} : null);
    const C = window.Backbone.Collection.extend({backend: 'messages'});
    const a = new C();
    const told = [];
    a.on('error', (object, failure) => told.push(failure.error.name));
    a.bindBackend();
    await event(a, 'backend:connect');
    assert.equal(backend.listens.length, 3);
    assert.deepEqual(told, ['Unavailable']);
    backend.emit('create', {id: 1});
    await until(() => a.length === 1);
  });

  test('what is fetched anew while the database is away is fetched again', async () => {
    backend.emit('create', {id: 1, text: 'one'});
    const a = await bound();
    await a.fetch();
    let away = 2;
    backend.handler = (request, all) => {
      if (away-- > 0) throw Object.assign(new Error('the database is away'), {name: 'Unavailable'});
      return all.store(request);
    };
    backend.models.set(1, {id: 1, text: 'two'});
    backend.emit('reset', null);
    const stale = () => window.Backbone.io.inspect().backends[0].channels[0].stale;
    await until(() => stale() === 1);
    await until(() => a.get(1).get('text') === 'two');
    assert.equal(stale(), 0);
  });

  test('taken out of a channel by the server', async () => {
    const a = await bound({name: 'messages', channel: 'room'});
    const left = event(a, 'backend:leave');
    for (const s of backend.io.sockets.values()) {
      s.data.channels.delete('room');
      s.emit('leave', 'room', {error: {name: 'Forbidden', message: 'banned'}});
    }
    assert.equal((await left)[0].error.message, 'banned');
    assert.equal(a.backend.connected, false);
    backend.emit('create', {id: 1, text: 'unheard'}, 'room');
    mock.cut();
    const other = await bound();
    assert.deepEqual(backend.listens.map(l => l.channel), ['room', null]);
    await other.fetch();
    assert.equal(a.length, 0);
    // Asking again lets the server decide; what was missed comes then.
    await a.fetch();
    assert.equal(a.length, 1);
  });

  test('what was missed of a model that a late answer has deleted stays deleted', async () => {
    const a = await bound(), held = gate();
    backend.emit('create', {id: 4, text: 'first'});
    await until(() => a.get(4));
    backend.before = () => held.pass();
    const destroyed = event(a.get(4), 'sync');
    a.get(4).destroy();
    await until(() => backend.requests.length === 1);
    const left = event(a, 'backend:leave');
    for (const s of backend.io.sockets.values()) {
      s.data.channels.delete(null);
      s.emit('leave', null, {error: {name: 'Forbidden', message: 'wait'}});
    }
    await left;
    backend.emit('delete', {id: 4}, null);
    backend.emit('create', {id: 4, text: 'again'}, null);
    held.open();
    await destroyed;
    const added = [];
    a.on('add', model => added.push(model.id));
    backend.emit('create', {id: 5, text: 'other'}, null);
    await a.fetch();
    assert.deepEqual(backend.listens[1].since, {epoch: 'e1', rev: 1});
    assert.deepEqual(json(added), [5]);
  });

  test('the server closes the namespace, the page asks again', async () => {
    const a = await bound();
    const down = event(a, 'backend:disconnect');
    for (const s of backend.io.sockets.values()) s.disconnect();
    await down;
    await a.fetch();
    assert.equal(a.backend.connected, true);
  });

  test('a namespace that does not let the page in', async () => {
    let allowed = false;
    mock.backends.others.io.use((s, next) => {
      const error = new Error('not you');
      next(allowed ? undefined : error);
    });
    const a = new (window.Backbone.Collection.extend({backend: 'others'}))();
    const fetched = Promise.resolve(a.fetch());
    const [, failure] = await event(a, 'error');
    assert.equal(failure.error.message, 'not you');
    await assert.rejects(fetched);
    allowed = true;
    await a.fetch();
  });

  test('closing and opening the socket of connect goes for every backend', async () => {
    const a = await bound();
    const down = event(a, 'backend:disconnect');
    socket.disconnect();
    await down;
    const fetched = a.fetch();
    assert.equal(backend.requests.length, 0);
    socket.connect();
    await fetched;
    assert.equal(backend.listens.length, 2);
  });

  test('authentication data of the socket goes along to every backend', async () => {
    const seen = [];
    backend.io.use((s, next) => { seen.push(s.handshake.auth); next(); });
    window.close();
    const other = page({backbone});
    const main = other.connect(mock.url, {auth: {token: 'abc'}});
    const a = new (other.Backbone.Collection.extend({backend: 'messages'}))();
    await event(a, 'backend:connect');
    main.auth = done => done({token: 'def'});
    mock.cut();
    await event(a, 'backend:connect');
    assert.deepEqual(seen.slice(-2), [{token: 'abc'}, {token: 'def'}]);
    other.close();
  });
});
