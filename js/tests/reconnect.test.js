// Lost connections: what was missed comes, once and in order, and what was sent is done once.
'use strict';

const {test, describe} = require('node:test');
const assert = require('node:assert/strict');
const {connected, content, event, gate, texts, until} = require('./page.js');

for (const backbone of ['1.1.2', '1.6']) describe('Backbone ' + backbone, () => {
  let mock, backend, window, socket;
  const {bound, offline, store} = connected(backbone, made => { ({mock, backend, window, socket} = made); });

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

  test('so it is when a page of it was asked for meanwhile', async () => {
    for (const id of [1, 2, 3, 4]) backend.emit('create', {id, text: 'old'});
    backend.handler = ({options: {data}}) => [...backend.models.values()].filter(m => data.ids.includes(m.id));
    const a = await bound();
    await a.fetch({data: {ids: [1, 2]}});
    const online = offline();
    await event(a, 'backend:disconnect');
    const more = a.fetch({remove: false, data: {ids: [3, 4]}});
    backend.emit('delete', {id: 2});
    backend.emit('delete', {id: 3});
    backend.journal.length = 0;
    online();
    await more;
    await until(() => backend.handled === 4 && a.backend.requests.size === 0);
    assert.deepEqual(content(a), [{id: 1, text: 'old'}, {id: 4, text: 'old'}]);
  });

  test('so it is when a reset comes between the answers to two pages', async () => {
    for (const id of [1, 2, 3, 4]) backend.emit('create', {id, text: 'old'});
    backend.handler = ({options: {data}}) => [...backend.models.values()].filter(m => data.ids.includes(m.id));
    const a = await bound(), ids = () => a.pluck('id').sort().join();
    backend.after = () => { if (backend.handled === 2) { backend.models.delete(3); backend.emit('reset', null); } };
    const first = a.fetch({data: {ids: [1, 2]}}), more = a.fetch({remove: false, data: {ids: [3, 4]}});
    await Promise.all([first, more]);
    await until(() => a.backend.requests.size === 0);
    assert.equal(ids(), '1,2,4');
    // And while the further page is fetched again.
    backend.after = () => { if (backend.handled === 6) { backend.models.delete(4); backend.emit('reset', null); } };
    backend.emit('reset', null);
    await until(() => backend.handled === 8 && a.backend.requests.size === 0);
    assert.equal(ids(), '1,2');
  });

  test('so it is when both wait at a first reset, and the further page alone at a second', async () => {
    const a = await bound(), down = event(a, 'backend:disconnect'), online = offline(), pages = () => backend.requests.map(r => r.options.page);
    await down;
    for (const page of [0, 1]) a.fetch({page, remove: page === 0});
    backend.epoch = 'e2';
    backend.after = async ({options}) => {
      if (options.page !== 1 || backend.epoch === 'e3') return;
      backend.epoch = 'e3';
      mock.cut();
    };
    online();
    await until(() => pages().length === 5);
    assert.deepEqual(pages(), [0, 1, 1, 0, 1]);
  });

  test('a model of its own that is gone after a reset is destroyed, also where the page waits to fetch it', async () => {
    backend.emit('create', {id: 1, text: 'one'});
    const model = new (window.Backbone.Model.extend({backend: 'messages'}))({id: 1}).bindBackend();
    await event(model, 'backend:connect');
    await model.fetch();
    const online = offline(), destroyed = event(model, 'destroy');
    await event(model, 'backend:disconnect');
    model.fetch();
    backend.emit('delete', {id: 1});
    backend.journal.length = 0;
    online();
    await destroyed;
  });

  test('several resets fetch a list again once while its fetches wait to be sent', async () => {
    const a = await bound(), held = gate(), resets = [];
    await a.fetch();
    await a.fetch({remove: false, data: {page: 2}});
    backend.before = request => (request.method === 'create' ? held.pass() : undefined);
    const model = a.create({text: 'one'});
    model.save({text: 'two'}); // waits for the id, and holds back what is behind it
    a.on('backend:reset', () => resets.push(backend.rev));
    for (let i = 0; i < 3; i++) backend.emit('reset', null);
    await until(() => resets.length === 3);
    held.open();
    await until(() => a.backend.requests.size === 0);
    await a.fetch();
    assert.equal(backend.requests.filter(({method}) => method === 'read').length, 5);
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
});
