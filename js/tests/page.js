// A page as script tags make it: a realm of its own with Underscore or lodash, Backbone,
// perhaps jQuery, the Socket.IO client and backbone.io.js as globals.
'use strict';

const {beforeEach, afterEach} = require('node:test');
const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');
const io = require('socket.io-client');
const {Mock} = require('./mock.js');

const VERSIONS = {
  '1.1.2': 'backbone-1.1.2', '1.2.3': 'backbone-1.2.3', '1.3.3': 'backbone-1.3.3',
  '1.4.1': 'backbone-1.4.1', '1.5.0': 'backbone-1.5.0', '1.6': 'backbone'
};

const scripts = {};

function script(file) {
  if (!scripts[file]) scripts[file] = new vm.Script(fs.readFileSync(file, 'utf8'), {filename: file});
  return scripts[file];
}

function source(name, file) {
  return script(path.join(__dirname, '..', 'node_modules', name, file));
}

const BACKBONE_IO = path.join(__dirname, '..', 'dist', 'backbone.io.js');

// Options: backbone (version), lodash, jquery (a jQuery to set as Backbone.$), before
// (called with the window when Backbone is there and backbone.io.js is not yet).
function page(options = {}) {
  const window = {setTimeout, clearTimeout, console, crypto, io, WeakRef, Uint8Array};
  window.window = window.self = window;
  const context = vm.createContext(window);
  const run = compiled => compiled.runInContext(context);
  run(options.lodash ? source('lodash', 'lodash.js') : source('underscore', 'underscore-umd.js'));
  run(source(VERSIONS[options.backbone || '1.6'], 'backbone.js'));
  if (options.jquery) window.Backbone.$ = options.jquery;
  if (options.before) options.before(window);
  run(script(BACKBONE_IO));

  const sockets = [];
  window.connect = (url, settings) => {
    const socket = window.Backbone.io.connect(url, {
      forceNew: true, reconnectionDelay: 5, reconnectionDelayMax: 20, transports: ['websocket'], ...settings
    });
    sockets.push(socket);
    return socket;
  };
  window.close = () => { for (const socket of sockets) socket.disconnect(); };
  window.eval = text => vm.runInContext(text, context);
  return window;
}

// Resolves when the object triggers the event, with the event's arguments.
function event(object, name) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('waited in vain for ' + name)), 10000);
    object.once(name, (...args) => {
      clearTimeout(late);
      resolve(args);
    });
  });
}

// Resolves when the condition holds; looked at after every round of the event loop.
async function until(condition, what = condition.toString()) {
  const end = Date.now() + 10000;
  while (!condition()) {
    if (Date.now() > end) throw new Error('waited in vain until ' + what);
    await new Promise(resolve => setTimeout(resolve, 2));
  }
}

// A gate: `pass` holds until `open` is called.
function gate() {
  let open;
  const opened = new Promise(resolve => { open = resolve; });
  return {open, pass: () => opened};
}

const json = value => JSON.parse(JSON.stringify(value));
const texts = collection => json(collection.map(m => m.get('text')));
const byId = rows => rows.sort((a, b) => a.id - b.id);
const content = collection => byId(json(collection.toJSON()));

// Makes a mock of the backends `messages` and `others`, and a page that is connected to it, anew
// for each test, and gives them to `take`. `store` is what is stored in `messages`.
function connected(backbone, take) {
  let made;
  beforeEach(async () => {
    const mock = await new Mock(['messages', 'others']).start(), window = page({backbone});
    made = {mock, backend: mock.backends.messages, window, socket: window.connect(mock.url)};
    take(made);
  });
  afterEach(async () => {
    made.window.close();
    await made.mock.stop();
  });

  async function bound(spec = 'messages', attrs) {
    const collection = new (made.window.Backbone.Collection.extend({backend: spec, ...attrs}))().bindBackend();
    await event(collection, 'backend:connect');
    return collection;
  }
  // Keeps the page offline until the function returned is called.
  function offline() {
    let blocked = true;
    made.mock.io.engine.use((req, res, next) => (blocked ? next(new Error('offline')) : next()));
    made.mock.cut();
    return () => { blocked = false; };
  }
  return {bound, offline, store: () => byId(json([...made.backend.models.values()]))};
}

module.exports = {page, connected, event, until, gate, json, texts, content, VERSIONS: Object.keys(VERSIONS)};
