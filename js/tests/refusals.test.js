// Requests that time out, listens that are refused, pages that are not let in or taken out.
'use strict';

const {test, describe} = require('node:test');
const assert = require('node:assert/strict');
const {connected, content, event, gate, json, page, until} = require('./page.js');

for (const backbone of ['1.1.2', '1.6']) describe('Backbone ' + backbone, () => {
  let mock, backend, window, socket;
  const {bound, offline, store} = connected(backbone, made => { ({mock, backend, window, socket} = made); });

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
