// What is sent and what is not, what is left behind, and how the file can be loaded.
'use strict';

const {test, describe, before, after, beforeEach, afterEach} = require('node:test');
const assert = require('node:assert/strict');
const {execFileSync} = require('node:child_process');
const path = require('node:path');
const vm = require('node:vm');
const fs = require('node:fs');
const {JSDOM} = require('jsdom');
const {Mock} = require('./mock.js');
const {page, event, until} = require('./page.js');

const json = value => JSON.parse(JSON.stringify(value));
const JS = path.join(__dirname, '..');

describe('manners', () => {
  let mock, backend, window;

  before(async () => { mock = await new Mock(['messages', 'others'], {maxHttpBufferSize: 2000}).start(); });
  after(() => mock.stop());
  beforeEach(() => {
    backend = mock.backends.messages;
    for (const list of [backend.requests, backend.listens, backend.leaves]) list.length = 0;
    window = page();
    window.connect(mock.url);
  });
  afterEach(() => {
    window.close();
    backend.models.clear();
    Object.assign(backend, {handler: null, event: 'backend'});
  });

  const make = (spec = 'messages', attrs) => new (window.Backbone.Collection.extend({backend: spec, ...attrs}))();

  test('options that cannot be JSON, or concern the page alone, are not sent', async () => {
    const dom = new JSDOM('<p id="x"></p>').window, a = make(), cycle = {in: 1};
    cycle.self = cycle;
    await a.fetch({
      data: {page: 2, when: new Date(0), nested: {fn() {}, ok: true}, list: [1, NaN, () => 1]}, wait: true, text: 'ä',
      success() {}, error() {}, beforeSend() {}, context: {}, timeout: 1000,
      element: dom.document.getElementById('x'), dom, model: new window.Backbone.Model(), coll: a, cycle, nothing: undefined,
      map: new Map(), xhr: {abort() {}}, ['__proto__']: 1
    });
    assert.deepEqual(backend.requests[0].options, {
      data: {page: 2, when: '1970-01-01T00:00:00.000Z', nested: {ok: true}, list: [1, null, null]},
      parse: true, wait: true, text: 'ä', cycle: {in: 1}
    });
    assert.deepEqual(Object.keys(backend.requests[0]).sort(), ['channel', 'id', 'method', 'model', 'options']);
  });

  test('what is sent: the model, or what a patch changes and the id; nothing of a collection', async () => {
    const a = make('messages', {model: window.Backbone.Model.extend({idAttribute: '_id'})});
    backend.handler = request => request.model;
    a.add([{_id: 7, text: 'a', more: 1}]);
    const model = a.get(7);
    await model.save({text: 'b'}, {patch: true});
    await model.save({text: 'c'});
    await model.fetch();
    await model.sync('archive', model);
    await model.destroy();
    await a.fetch();
    assert.deepEqual(backend.requests.map(r => [r.method, r.model]), [
      ['patch', {_id: 7, text: 'b'}],
      ['update', {_id: 7, text: 'c', more: 1}],
      ['read', {_id: 7, text: 'c', more: 1}],
      ['archive', {_id: 7, text: 'c', more: 1}],
      ['delete', {_id: 7, text: 'c', more: 1}],
      ['read', {}]
    ]);
  });

  test('a custom method: callbacks, and an event of its own for the others', async () => {
    const a = make(), b = make();
    a.add({id: 1, text: 'x'});
    backend.handler = request => ({...request.model, archived: true});
    const heard = event(b, 'backend:archive');
    const answer = await new Promise((success, error) => a.get(1).sync('archive', a.get(1), {success, error}));
    assert.deepEqual(json(answer), {id: 1, text: 'x', archived: true});
    assert.deepEqual(json((await heard)[0]), json(answer));
  });

  test('a message over the limit is refused here, and the connection lives on', async () => {
    const a = make();
    await event(a, 'backend:connect');
    let disconnects = 0;
    a.on('backend:disconnect', () => disconnects++);
    const model = a.create({text: 'ä'.repeat(1000)});
    const [, failure] = await event(model, 'error');
    assert.equal(failure.error.name, 'TooLarge');
    await a.create({text: 'x'.repeat(1700)}).sync('read', a);
    await a.fetch();
    assert.equal(disconnects, 0);
    assert.deepEqual(backend.requests.map(r => r.method), ['create', 'read', 'read']);
  });

  test('keys that would reach prototypes are left out', async () => {
    const a = make().bindBackend();
    const evil = JSON.parse('{"id": 1, "__proto__": {"polluted": 1}, "deep": {"__proto__": {"polluted": 1}, "list": [{"__proto__": {"polluted": 1}}]}}');
    backend.handler = () => [evil];
    await a.fetch();
    backend.changed('update', {...evil, ['__proto__']: null, text: 'event'}, undefined);
    backend.io.emit('synced', 'create', JSON.parse('{"id": 2, "__proto__": {"polluted": 1}}'), {});
    await until(() => a.length === 2);
    for (const object of [{}, a.get(1).attributes, a.get(2).attributes, a.get(1).get('deep'), a.get(1).get('deep').list[0]]) {
      assert.equal(object.polluted, undefined);
      assert.ok(!Object.hasOwn(object, '__proto__'));
    }
  });

  test('a handler that throws is reported, and costs nobody a change', async () => {
    const thrown = [];
    window.close();
    window = page({before(w) {
      w.setTimeout = (fn, ...rest) => setTimeout((...args) => { try { fn(...args); } catch (error) { thrown.push(error.message); } }, ...rest);
    }});
    window.connect(mock.url);
    const a = make().bindBackend(), b = make().bindBackend();
    await event(b, 'backend:connect');
    a.on('add', () => { throw new Error('handler'); });
    backend.emit('create', {id: 1});
    backend.emit('create', {id: 2});
    await until(() => a.length === 2 && b.length === 2);
    a.off('add');
    a.create({text: 'x'}, {success() { throw new Error('callback'); }});
    await until(() => b.length === 3);
    await until(() => thrown.includes('callback') && thrown.includes('handler'));
    await a.fetch();
  });

  test('a parse that throws is reported, and costs nobody a change', async () => {
    const thrown = [];
    window.close();
    window = page({before(w) {
      w.setTimeout = (fn, ...rest) => setTimeout((...args) => { try { fn(...args); } catch (error) { thrown.push(error.message); } }, ...rest);
    }});
    window.connect(mock.url);
    const a = make('messages', {model: window.Backbone.Model.extend({parse: row => row.data.row})}).bindBackend(), b = make().bindBackend();
    await event(b, 'backend:connect');
    let open;
    backend.after = () => new Promise(resolve => { open = resolve; });
    try {
      a.sync('count', a);
      await until(() => open);
      backend.changed('create', {text: 'no data'});
      await until(() => b.length === 1);
    } finally { backend.after = async () => {}; }
    await until(() => thrown.length);
    assert.match(thrown[0], /row/);
    open();
  });

  test('an ignored promise is no unhandled rejection; null and undefined $ are fine', async () => {
    const unhandled = [];
    const note = error => unhandled.push(error);
    process.on('unhandledRejection', note);
    try {
      const a = make();
      backend.handler = () => { throw new Error('no'); };
      window.Backbone.$ = null;
      a.fetch();
      await event(a, 'error');
      await new Promise(resolve => setTimeout(resolve, 10));
      assert.deepEqual(unhandled, []);
    } finally { process.off('unhandledRejection', note); }
  });

  test('a thousand collections come and go: one listen, one leave, nothing left', async () => {
    const collections = [];
    for (let i = 0; i < 1000; i++) collections.push(make({name: 'messages', channel: 'room'}).bindBackend());
    await event(collections[999], 'backend:connect');
    assert.equal(backend.listens.length, 1);
    const channel = collections[0].backend;
    assert.equal(channel.users.size, 1000);
    collections.forEach(c => c.unbindBackend());
    await until(() => backend.leaves.length === 1);
    assert.deepEqual([channel.users.size, channel.requests.size], [0, 0]);
    assert.deepEqual(Object.keys(channel.backend.subscriptions), []);
    assert.deepEqual(collections[0]._events, undefined);
    backend.emit('create', {id: 1}, 'room');

    // Unbound it still talks to its backend, and hears again when bound again.
    await collections[0].fetch();
    assert.equal(collections[0].length, 1);
    await until(() => backend.leaves.length === 2);
    collections[0].bindBackend();
    await event(collections[0], 'backend:connect');
    backend.emit('create', {id: 2}, 'room');
    await until(() => collections[0].length === 2);
  });

  test('binding twice applies once; unbinding at once listens never', async () => {
    const a = make().bindBackend().bindBackend(), b = make({name: 'messages', channel: 'never'}).bindBackend().unbindBackend();
    let adds = 0, heard = 0;
    a.on('add', () => adds++).on('backend:create', () => heard++);
    await event(a, 'backend:connect');
    backend.emit('create', {id: 1});
    await until(() => a.length === 1);
    assert.deepEqual([adds, heard], [1, 1]);
    assert.deepEqual(backend.listens.map(l => l.channel), [null]);
    assert.ok(b);
  });

  test('models in a collection cost no registration, models alone are held weakly', async () => {
    const Model = window.Backbone.Model.extend({backend: 'messages'});
    const a = make('messages', {model: Model});
    a.reset(Array.from({length: 500}, (_, id) => ({id})));
    for (let i = 0; i < 100; i++) a.add(new Model({id: 'new' + i}));
    const alone = new Model({id: 'alone'});
    await event(a, 'backend:connect');
    const heard = event(alone, 'backend:update');
    backend.emit('update', {id: 'alone'});
    await heard;
    assert.equal(a.backend.users.size, 2);
    assert.deepEqual(Array.from(a.backend.users, u => u.constructor.name).sort(), ['WeakRef', 'child'].sort());
  });

  test('memory is kept only while requests are under way', async () => {
    const a = make().bindBackend();
    await event(a, 'backend:connect');
    for (let id = 0; id < 100; id++) backend.emit('create', {id});
    await until(() => a.length === 100);
    assert.equal(a.backend.history.log.size, 0);
    let open;
    backend.after = () => new Promise(resolve => { open = resolve; });
    const fetched = a.fetch();
    await until(() => open);
    for (let i = 0; i < 300; i++) backend.emit('update', {id: i % 3, i});
    await until(() => a.get(2).get('i') === 299);
    assert.equal(a.backend.history.log.size, 3);
    open();
    backend.after = async () => {};
    await fetched;
    assert.equal(a.backend.history.log.size, 0);
  });

  test('the server\'s prefix for events', async () => {
    backend.event = 'myevent';
    const a = make().bindBackend();
    await event(a, 'myevent:connect');
    const heard = event(a, 'myevent:create'), generic = event(a, 'myevent');
    backend.emit('create', {id: 1, text: 'x'});
    assert.deepEqual(json(await heard), [{id: 1, text: 'x'}]);
    assert.deepEqual(json(await generic), ['create', {id: 1, text: 'x'}]);
    window.connect(mock.url);
  });

  test('binding again asks to be let in again', async () => {
    const a = make({name: 'messages', channel: 'club'}).bindBackend();
    await event(a, 'backend:connect');
    const left = event(a, 'backend:leave');
    for (const socket of backend.io.sockets.values()) socket.emit('leave', 'club');
    await left;
    a.bindBackend();
    await event(a, 'backend:connect');
    backend.refuse = () => ({name: 'Forbidden', message: 'closed'});
    try {
      const b = make({name: 'messages', channel: 'shut'});
      await event(b, 'error');
      const c = make({name: 'messages', channel: 'shut'});
      await event(c, 'error');
      backend.refuse = null;
      b.bindBackend();
      await event(b, 'backend:connect');
    } finally { backend.refuse = null; }
  });

  test('who joins a live page is told that it is live', async () => {
    await event(make(), 'backend:connect');
    await event(make(), 'backend:connect');
  });

  test('a model of a collection with the same backend uses its channel', async () => {
    const a = make({name: 'messages', channel: 'room'}, {model: window.Backbone.Model.extend({backend: 'messages'})});
    await new Promise(resolve => a.create({text: 'x'}, {success: resolve}));
    assert.equal(backend.requests[0].channel, 'room');
  });

  test('a comparator keeps order through events', async () => {
    const a = make('messages', {comparator: 'text'}).bindBackend();
    await event(a, 'backend:connect');
    for (const [id, text] of [[1, 'b'], [2, 'c'], [3, 'a']]) backend.emit('create', {id, text});
    backend.emit('update', {id: 1, text: 'z'});
    await until(() => a.length === 3 && a.get(1).get('text') === 'z');
    assert.deepEqual(json(a.map(m => m.id)), [3, 2, 1]);
  });

  test('WebSocket first with long-polling behind, unless the caller says otherwise', () => {
    const seen = [];
    const socket = () => ({io: {opts: {}, on() {}, socket() {}}, connect() {}, open() {}, close() {}, disconnect() {}});
    const other = page({before(w) { w.io = (...args) => { seen.push(json(args)); return socket(); }; }});
    other.Backbone.io.connect();
    other.Backbone.io.connect('http://x', {query: {a: 1}, requestTimeout: 5});
    other.Backbone.io({transports: ['polling']});
    assert.deepEqual(seen, [
      [{transports: ['websocket', 'polling'], tryAllTransports: true}],
      ['http://x', {query: {a: 1}, transports: ['websocket', 'polling'], tryAllTransports: true}],
      [{transports: ['polling']}]
    ]);
  });

  test('long-polling alone works', async () => {
    const other = page();
    other.connect(mock.url, {transports: ['polling']});
    const a = new (other.Backbone.Collection.extend({backend: 'messages'}))();
    await new Promise((success, error) => a.create({text: 'polled'}, {success, error}));
    other.close();
  });

  test('connecting when the application says so', async () => {
    const other = page();
    const socket = other.connect(mock.url, {autoConnect: false});
    const a = new (other.Backbone.Collection.extend({backend: 'messages'}))();
    const fetched = a.fetch();
    assert.equal(socket.io._readyState, 'closed');
    socket.connect();
    await fetched;
    other.close();
  });

  test('connections of one page are clients of their own', async () => {
    await event(make(), 'backend:connect');
    window.connect(mock.url);
    await event(make(), 'backend:connect');
    mock.cut();
    await until(() => backend.listens.length === 4);
    const [one, other, ...again] = backend.listens.map(listen => listen.client);
    assert.notEqual(one, other);
    assert.deepEqual(again.sort(), [one, other].sort());
  });

  test('a second connect serves what is made afterwards', async () => {
    const second = await new Mock().start();
    try {
      const a = make().bindBackend();
      await event(a, 'backend:connect');
      window.connect(second.url);
      const b = make().bindBackend();
      await event(b, 'backend:connect');
      second.backends.messages.emit('create', {id: 1, text: 'second'});
      await until(() => b.length === 1);
      assert.equal(a.length, 0);
      await a.fetch();
      assert.equal(backend.requests.length, 1);
    } finally {
      window.close();
      await second.stop();
    }
  });

  test('Socket.IO 0.9\'s reconnect, and the namespace\'s socket', async () => {
    const socket = window.connect(mock.url), a = make();
    assert.equal(new (page().Backbone.Collection)(null, {backend: 'messages'}).backend.socket, null);
    await event(a, 'backend:connect');
    assert.equal(a.backend.socket.nsp, '/messages');
    const again = new Promise(resolve => socket.on('reconnect', (...args) => resolve(args)));
    mock.cut();
    assert.deepEqual(await again, ['websocket', 1]);
  });
});

describe('nothing fails in silence', () => {
  let window, warnings, timers;

  beforeEach(() => {
    warnings = [];
    timers = [];
    window = page({before(w) {
      w.console = {warn: text => warnings.push(text)};
      w.setTimeout = (fn, delay) => { timers.push([fn, delay]); return timers.length; };
    }});
  });
  const soon = () => new Promise(resolve => setTimeout(resolve));
  const make = (spec, options) => new (window.Backbone.Collection.extend(spec === undefined ? {} : {backend: spec}))(null, options);

  test('nobody connects', async () => {
    make('messages');
    make('others');
    await soon();
    assert.deepEqual(timers.map(([, delay]) => delay), [5000]);
    timers[0][0]();
    assert.equal(warnings.length, 1);
    assert.match(warnings[0], /"messages".*Call Backbone\.io\.connect\(\) once/);
  });

  test('somebody connects later', async () => {
    make('messages');
    window.connect('http://127.0.0.1:9', {autoConnect: false});
    make('others');
    await soon();
    timers.forEach(([fn]) => fn());
    assert.deepEqual(warnings, []);
  });

  test('bindBackend without a backend', async () => {
    window.connect('http://127.0.0.1:9', {autoConnect: false});
    make().bindBackend();
    make().bindBackend();
    make('messages').bindBackend();
    await soon();
    assert.equal(warnings.length, 1);
    assert.match(warnings[0], /bindBackend\(\) of a collection without a backend does nothing\. Give it one/);
    new window.Backbone.Model().bindBackend();
    make('messages').add(new window.Backbone.Model().bindBackend());
    await soon();
    assert.equal(warnings.length, 2);
    assert.match(warnings[1], /of a model/);
  });

  test('a backend that the server has not', async () => {
    const mock = await new Mock(['messages']).start(), failures = [];
    try {
      window = page({before(w) { w.console = {warn: text => warnings.push(text)}; }});
      window.connect(mock.url);
      make('messages');
      const missing = make('mesages');
      missing.on('error', (_, failure) => failures.push(failure));
      missing.bindBackend();
      await until(() => failures.length);
      assert.deepEqual(warnings, [
        'Backbone.IO: the server has no backend "mesages". Is it misspelt? `flask backboneio routes` lists those that there are.'
      ]);
      assert.equal(failures[0].error.message, 'Invalid namespace');
    } finally {
      window.close();
      await mock.stop();
    }
  });

  test('a misspelt key of backend', async () => {
    window.connect('http://127.0.0.1:9', {autoConnect: false});
    for (let i = 0; i < 2; i++) make({name: 'messages', chanel: 'room'});
    make({name: 'messages', channel: 'room'});
    await soon();
    assert.deepEqual(warnings, [
      'Backbone.IO: "chanel" of the backend "messages" means nothing: `backend` has name, channel, sync, transform. Is it misspelt?'
    ]);
  });

  test('a misspelt option of connect', () => {
    window.connect('http://127.0.0.1:9', {autoConnect: false, transport: ['websocket'], inspct: true});
    window.connect('http://127.0.0.1:9', {autoConnect: false, transport: ['polling'], requesttimeout: 5});
    assert.deepEqual(warnings, [
      'Backbone.IO: "transport" is no option of Backbone.io.connect: is "transports" meant?',
      'Backbone.IO: "inspct" is no option of Backbone.io.connect, which takes those of Socket.IO\'s client, and requestTimeout.',
      'Backbone.IO: "requesttimeout" is no option of Backbone.io.connect: is "requestTimeout" meant?'
    ]);
  });

  test('every option that the types of Socket.IO\'s client have passes', () => {
    const given = {};
    for (const [file, types] of [
      ['engine.io-client/build/esm/socket.d.ts', ['SocketOptions']],
      ['socket.io-client/build/esm/manager.d.ts', ['ManagerOptions']],
      ['socket.io-client/build/esm/socket.d.ts', ['SocketOptions']]
    ]) {
      const text = fs.readFileSync(path.join(JS, 'node_modules', file), 'utf8');
      for (const type of types) {
        const body = text.match(new RegExp(`interface ${type}\\b[^{]*\\{([\\s\\S]*?)\\n\\}`))[1];
        for (const [, name] of body.matchAll(/^ {4}(\w+)\??:/gm)) given[name] = undefined;
      }
    }
    assert.ok(Object.keys(given).length > 35);
    window.connect('http://127.0.0.1:9', {...given, autoConnect: false});
    assert.deepEqual(warnings, []);
  });
});

describe('loading', () => {
  const run = (code, ...args) => execFileSync(process.execPath, [...args, '-e', code], {cwd: JS, encoding: 'utf8'}).trim();

  test('CommonJS', () => {
    assert.equal(run(`const io = require('./dist/backbone.io.js'), Backbone = require('backbone');
      console.log(io === Backbone.io, typeof io.connect('http://127.0.0.1:9', {autoConnect: false}).emit)`), 'true function');
  });

  test('the version is that of the package', () => {
    assert.equal(page().Backbone.io.VERSION, require('../package.json').version);
  });

  test('an ES module import', () => {
    assert.equal(run(`import io from './dist/backbone.io.js'; import Backbone from 'backbone';
      console.log(io === Backbone.io)`, '--input-type=module'), 'true');
  });

  for (const file of ['backbone.io.js', 'backbone.io.min.js']) {
    // As RequireJS does it: `define`, and a `require` that throws at what is not defined.
    const amd = modules => {
      const defined = [], window = page();
      const define = (names, factory) => defined.push([names, factory]);
      define.amd = {};
      const require = name => {
        if (!(name in modules)) throw new Error('not loaded: ' + name);
        return modules[name];
      };
      const global = {define, require, setTimeout, clearTimeout};
      vm.runInNewContext(fs.readFileSync(path.join(JS, 'dist', file), 'utf8'), global);
      const [[names, factory]] = defined;
      assert.deepEqual(json(names), ['backbone']);
      delete window.Backbone.io;
      return [factory(window.Backbone), global];
    };
    const io = name => (...args) => ({name, args, io: {opts: {}, on() {}, socket() {}}, connect() {}, open() {}, close() {}, disconnect() {}});

    test('AMD with Socket.IO as a module, under the names that pages give it: ' + file, () => {
      for (const name of ['socketio', 'socket.io-client', 'socket.io', 'io']) {
        const [client] = amd({[name]: io(name), other: {}});
        assert.equal(client.connect('http://x').name, name);
      }
    });

    test('AMD with Socket.IO as a global, or not at all: ' + file, () => {
      const [client, global] = amd({});
      assert.throws(() => client.connect(), /Socket.IO client.*RequireJS.*"socketio"/);
      global.io = io('global');
      assert.equal(client.connect().name, 'global');
    });

    test('a script that is the same minified: ' + file, () => {
      const window = page();
      delete window.Backbone.io;
      window.eval(fs.readFileSync(path.join(JS, 'dist', file), 'utf8'));
      assert.equal(typeof window.Backbone.io.connect, 'function');
    });
  }

  test('the source map knows the modules', () => {
    const text = fs.readFileSync(path.join(JS, 'dist', 'backbone.io.min.js'), 'utf8');
    assert.match(text, /sourceMappingURL=backbone\.io\.min\.js\.map\s*$/);
    const map = JSON.parse(fs.readFileSync(path.join(JS, 'dist', 'backbone.io.min.js.map'), 'utf8'));
    assert.ok(map.sources.includes('../src/history.js') && map.sourcesContent.every(Boolean));
  });

  test('twice is once, and without Backbone a clear error', () => {
    const text = fs.readFileSync(path.join(JS, 'dist', 'backbone.io.js'), 'utf8');
    const window = page(), {io} = window.Backbone, {sync} = window.Backbone;
    window.eval(text);
    assert.equal(window.Backbone.io, io);
    assert.equal(window.Backbone.sync, sync);
    assert.throws(() => vm.runInNewContext(text, {}), /needs Backbone/);
    const without = page({before(w) { delete w.io; }});
    assert.throws(() => without.Backbone.io.connect(), /Socket.IO client/);
  });
});
