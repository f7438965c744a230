// Late and old answers, and old events: none overwrites or brings back what is newer.
'use strict';

const {test, describe} = require('node:test');
const assert = require('node:assert/strict');
const {connected, content, event, gate, json, texts, until} = require('./page.js');

for (const backbone of ['1.1.2', '1.6']) describe('Backbone ' + backbone, () => {
  let mock, backend, window;
  const {bound, offline, store} = connected(backbone, made => { ({mock, backend, window} = made); });

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

  test('a model that is in two collections leaves both', async () => {
    for (const id of [1, 2]) backend.emit('create', {id, text: 'one'});
    const [a, b, c] = [await bound(), await bound(), await bound()];
    await Promise.all([a.fetch(), c.fetch()]);
    b.add(a.models);
    backend.emit('delete', {id: 1});
    await until(() => c.length === 1);
    await c.get(2).destroy();
    assert.deepEqual([a, b, c].map(content), [[], [], []]);
  });

  // A page that has the model 1 fetches and writes, and loses the connection before either is
  // answered. What others do then is more than the server remembers; `answer` makes that of what was
  // written, as of the time before they did it. Returns the collection when all is answered, the
  // fetch first.
  async function unanswered(write, answer, others) {
    backend.emit('create', {id: 1, text: 'old'});
    const a = await bound(), held = gate();
    await a.fetch();
    backend.before = () => held.pass();
    a.fetch();
    write(a);
    await until(() => backend.requests.length > 2);
    const online = offline();
    await event(a, 'backend:disconnect');
    const key = `${backend.listens[0].client}/${backend.requests[2].id}`;
    backend.answers.set(key, answer());
    others();
    backend.journal.length = 0;
    backend.before = async () => {};
    held.open();
    online();
    await event(a, 'backend:connect');
    await until(() => a.backend.requests.size === 0);
    return a;
  }
  const destroy = options => a => a.get(1).destroy(options);
  const deleted = () => [null, {id: 1}, {rev: backend.emit('delete', {id: 1}), epoch: 'e1'}];
  const refused = () => [{error: {name: 'Forbidden', message: 'no'}}];

  for (const wait of [false, true]) test(`a model that others made anew before the answer to its delete (wait: ${wait}) came is shown`, async () => {
    const a = await unanswered(destroy({wait}), deleted, () => backend.emit('create', {id: 1, text: 'anew'}));
    assert.deepEqual(content(a), [{id: 1, text: 'anew'}]);
  });

  for (const wait of [false, true]) test(`the same where an event told of it (wait: ${wait})`, async () => {
    backend.emit('create', {id: 1, text: 'old'});
    const a = await bound(), held = gate();
    await a.fetch();
    backend.after = request => (request.method === 'delete' ? held.pass() : undefined);
    const old = a.get(1), gone = event(old, 'destroy');
    old.destroy({wait});
    await until(() => backend.models.size === 0);
    backend.emit('create', {id: 1, text: 'anew'});
    await until(() => a.get(1) && a.get(1).get('text') === 'anew');
    held.open();
    await gone;
    await until(() => a.backend.requests.size === 0);
    assert.deepEqual(content(a), [{id: 1, text: 'anew'}]);
    assert.notEqual(a.get(1), old);
  });

  for (const wait of [false, true]) test(`a model that others deleted before the answer to its create (wait: ${wait}) came is gone`, async () => {
    const created = () => [null, {id: 2, text: 'two'}, {rev: backend.emit('create', {id: 2, text: 'two'}), epoch: 'e1'}];
    const a = await unanswered(c => c.create({text: 'two'}, {wait}), created, () => backend.emit('delete', {id: 2}));
    assert.deepEqual(content(a), [{id: 1, text: 'old'}]);
  });

  test('so is the first of two, whose other is created after all', async () => {
    const created = () => [null, {id: 2, text: 'two'}, {rev: backend.emit('create', {id: 2, text: 'two'}), epoch: 'e1'}];
    const a = await unanswered(c => ['two', 'three'].map(text => c.create({text})), created, () => backend.emit('delete', {id: 2}));
    assert.deepEqual(content(a), store());
    assert.deepEqual(texts(a), ['old', 'three']);
  });

  test('a model that others deleted before the answer to its create came is gone also where rows came with a reset', async () => {
    backend.emit('create', {id: 1, text: 'old'});
    const a = await bound();
    await a.fetch();
    let online;
    backend.after = async ({method}) => {
      if (method !== 'create' || online) return;
      online = offline();
      backend.emit('delete', {id: 2});
      backend.emit('reset', [...backend.models.values()]);
    };
    a.create({text: 'two'});
    await event(a, 'backend:disconnect');
    online();
    await event(a, 'backend:connect');
    await until(() => a.backend.requests.size === 0);
    assert.deepEqual(content(a), store());
  });

  test('an old answer is brought up to date also by rows that came with a reset', async () => {
    const plain = new (window.Backbone.Collection.extend({backend: 'messages'}))(), held = gate();
    backend.after = () => held.pass();
    const created = plain.create({text: 'old'});
    await until(() => backend.handled === 1);
    backend.emit('update', {id: 1, text: 'new'});
    backend.emit('reset', [...backend.models.values()]);
    await event(plain, 'backend:reset');
    held.open();
    await event(created, 'sync');
    assert.deepEqual(content(plain), [{id: 1, text: 'new'}]);
  });

  test('a model whose delete was refused is shown again when it was fetched meanwhile', async () => {
    const a = await unanswered(destroy(), refused, () => backend.emit('update', {id: 1, text: 'newer'}));
    assert.deepEqual(content(a), [{id: 1, text: 'newer'}]);
  });

  test('nor is it when others have deleted it since, before the page could ask', async () => {
    backend.emit('create', {id: 1, text: 'old'});
    const a = await bound();
    await a.fetch();
    const online = offline();
    await event(a, 'backend:disconnect');
    const model = a.get(1), refused = event(model, 'error');
    model.destroy();
    backend.changed('reset', [{id: 1, text: 'reset'}]);
    backend.emit('delete', {id: 1});
    online();
    await refused;
    await until(() => a.backend.requests.size === 0);
    assert.deepEqual(content(a), []);
  });

  // A page deletes a model that a fetch still has, and the answer to that does not come.
  async function deletesUnanswered() {
    backend.rev = 50;
    backend.emit('create', {id: 1, text: 'old'});
    const a = await bound(), held = gate();
    await a.fetch();
    backend.before = request => (request.method === 'delete' ? held.pass() : undefined);
    const fetched = a.fetch(), destroyed = a.get(1).destroy();
    await fetched;
    assert.deepEqual(content(a), []);
    return {a, held, destroyed};
  }

  test('what a fetch had of a model that is being deleted is not shown in another epoch', async () => {
    const {a} = await deletesUnanswered();
    const online = offline();
    await event(a, 'backend:disconnect');
    Object.assign(backend, {epoch: 'e2', rev: 3, journal: []});
    backend.models.set(1, {id: 1, text: 'newer'});
    online();
    await event(a, 'backend:connect');
    await until(() => a.backend.requests.size === 0);
    assert.deepEqual(content(a), [{id: 1, text: 'newer'}]);
    backend.emit('update', {id: 1, text: 'newest'});
    await until(() => a.get(1).get('text') === 'newest');
  });

  test('nor is it where the server does not count: who knows which is newer', async () => {
    const sync = backend.sync;
    backend.sync = (socket, request, ack) => sync.call(backend, socket, request, (error, result) => ack(error, result));
    const {a, held, destroyed} = await deletesUnanswered();
    held.open();
    await destroyed;
    assert.deepEqual(content(a), []);
  });

  test('a model that others made anew and deleted again is not', async () => {
    const a = await unanswered(destroy(), deleted, () => {
      backend.emit('create', {id: 1, text: 'anew'});
      backend.after = async request => {
        backend.after = async () => {};
        assert.equal(request.method, 'read');
        backend.emit('delete', {id: 1});
      };
    });
    assert.deepEqual(content(a), []);
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
});
