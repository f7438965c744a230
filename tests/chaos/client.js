// The JavaScript clients of a run: backbone.io.js in Node, each client with a connection of its own.
// What passes over the wire is written down around the library, not by it.

'use strict';

const fs = require('fs');
const path = require('path');
const readline = require('readline');
const {createRequire} = require('module');

const config = JSON.parse(process.argv[2]);
const load = createRequire(path.join(config.modules, 'package.json'));
const Backbone = load('backbone');
const {Socket} = load('socket.io-client');
load(config.library);

const file = fs.openSync(config.history, 'w');

function add(who, kind, fields) {
  const t = Number(process.hrtime.bigint());
  fs.writeSync(file, JSON.stringify(Object.assign({t, c: who, kind}, fields)) + '\n');
}

// A generator of numbers from 0 to 1 that a seed decides (mulberry32).
function generator(text) {
  let state = 0;
  for (const char of text) state = (Math.imul(state, 31) + char.charCodeAt(0)) | 0;
  return function() {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// The wire
// --------

const emit = Socket.prototype.emit;

Socket.prototype.emit = function(event, argument) {
  const client = this.io.chaos;
  const args = Array.from(arguments), answered = args[args.length - 1];
  if (!client || this.nsp !== '/items') return emit.apply(this, args);
  const conn = client.conn;
  if (event === 'listen') {
    const channel = argument.channel === undefined ? null : argument.channel;
    add(client.name, 'listen', {channel, since: argument.since || null});
    args[args.length - 1] = function(answer) {
      if (conn !== client.conn) { /* what is asked on the next connection counts */ }
      else if (answer.error) add(client.name, 'refused', {channel, error: answer.error});
      else add(client.name, 'listened', {
        channel, epoch: answer.epoch, rev: answer.rev, reset: !!answer.reset,
        missed: (answer.missed || []).map(m => [m[0], String(m[1].id), m[1].by || null, m[2].rev])
      });
      answered.apply(this, arguments);
    };
  } else if (event === 'sync') {
    const token = argument.options.token || argument.id;
    add(client.name, 'sent', {token, conn});
    args[args.length - 1] = function(err, result, meta) {
      if (err) add(client.name, 'fail', {token, conn, error: err.error});
      else if (argument.method === 'read') {
        const rows = Array.isArray(result) ? result : [result];
        add(client.name, 'ok', {token, conn, rev: meta.rev, whole: Array.isArray(result),
          rows: rows.map(row => [String(row.id), row.by])});
      } else add(client.name, 'ok', {token, conn, rev: meta.rev, model: result});
      answered.apply(this, arguments);
    };
  } else if (event === 'leave') {
    add(client.name, 'leave', {channel: argument === undefined ? null : argument});
  }
  return emit.apply(this, args);
};

const onconnect = Socket.prototype.onconnect;

Socket.prototype.onconnect = function() {
  const client = this.io.chaos;
  if (client && this.nsp === '/items') add(client.name, 'connect', {conn: ++client.conn});
  return onconnect.apply(this, arguments);
};

// A client
// --------

// The attributes that a page has set where the model had none, and the server has not taken yet.
const own = new WeakMap();

function pagesOwn(model) {
  if (!own.has(model)) own.set(model, new Set());
  return own.get(model);
}

function fenceOf(collection) { return config.fences[collection.channel || '']; }

function Client(given) {
  const client = this;
  this.name = given.name;
  this.chance = generator(config.seed + '/' + given.name);
  this.conn = 0;
  this.count = 0;
  this.pending = new Set();
  // First: a collection belongs to the connection that was made last.
  const main = Backbone.io.connect('http://127.0.0.1:' + given.port, {
    forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 200, timeout: 4000,
    transports: given.transports
  });
  main.io.chaos = this;
  const socket = this.socket = main.io.socket('/items');
  // The server notes which connection it is that it throws out.
  socket.auth = answer => answer({name: client.name, conn: client.conn + 1});
  socket.onAny((event, method, model, meta) => {
    if (event === 'leave') add(client.name, 'taken-out', {channel: method});
    if (event === 'synced') add(client.name, 'event', {
      method, id: model && String(model.id), by: model && model.by || null, rev: meta.rev,
      channel: meta.channel === undefined ? '*' : meta.channel
    });
  });
  this.collections = given.channels.map(channel => {
    const collection = new (Backbone.Collection.extend({backend: {name: 'items', channel}}))();
    collection.channel = channel;
    const view = model => add(client.name, 'view', {
      channel, id: model.isNew() ? null : String(model.id), by: model.get('by') || null,
      model: model.attributes
    });
    collection.on('add change', view);
    collection.on('backend:leave', () => collection.bindBackend());
    collection.on('sync', object => { if (object === collection) collection.stale = false; });
    collection.on('error', (object, answer, options) => {
      const name = answer && answer.error && answer.error.name;
      // What cannot be fetched anew while the database is away is fetched again a while later.
      if (object === collection && options.refetch && name === 'Unavailable') collection.stale = true;
      if (name === 'Forbidden') setTimeout(() => client.refresh(collection.bindBackend()), 50);
    });
    const gone = model => add(client.name, 'view',
      {channel, id: model.isNew() ? null : String(model.id), by: null});
    collection.on('remove', gone);
    collection.on('reset', (all, options) => {
      options.previousModels.filter(model => !model.isNew() && !collection.get(model.id)).forEach(gone);
      collection.each(view);
    });
    return collection;
  });
  this.collections.forEach(collection => {
    collection.bindBackend();
    collection.fetch();
  });
}

Client.prototype = {
  pick(list) { return list[Math.floor(this.chance() * list.length)]; },

  // The options of a request, and its lines in the history.
  // `sets`: what the page sets of `object` in advance.
  options(method, collection, model, more, object, sets = {}) {
    const client = this, token = this.name + '-' + ++this.count, alone = object && pagesOwn(object);
    const keys = object && !(more && more.wait) ? Object.keys(sets) : [];
    keys.filter(key => !Object.hasOwn(object.attributes, key)).forEach(key => alone.add(key));
    this.pending.add(token);
    add(this.name, 'invoke', {token, method, channel: collection.channel, model});
    const done = error => {
      add(client.name, 'done', {token, error});
      client.pending.delete(token);
      if (client.changed) client.changed();
    };
    return Object.assign({
      token,
      success() {
        keys.forEach(key => alone.delete(key));
        done(null);
      },
      // Backbone leaves the page with what it set in advance, when the server refuses it.
      error(model, answer) {
        done(answer && answer.error && answer.error.name);
        if (more && more.wait) return;
        // What the page alone has set stays, so it takes that back itself.
        keys.filter(key => alone.has(key) && object.get(key) === sets[key]).forEach(key => {
          alone.delete(key);
          object.unset(key);
        });
        client.refresh(collection);
      }
    }, more);
  },

  // Shows what the server has; when its database is away, as soon as it is back.
  refresh(collection) {
    const again = collection.refreshing, token = this.name + '-refresh-' + ++this.count;
    collection.refreshing = true;
    if (again) return;
    const end = () => { collection.refreshing = false; this.pending.delete(token); };
    this.pending.add(token);
    collection.fetch({
      success: end,
      error: () => setTimeout(() => { end(); this.refresh(collection); }, 200)
    });
  },

  step() {
    const collection = this.pick(this.collections);
    const what = this.chance(), wait = this.chance() < 0.5, number = this.count + 1;
    const by = this.name + '-' + number;
    const hot = collection.filter(model => !model.isNew() && model.id !== fenceOf(collection));
    const model = this.pick(hot), value = this.chance();
    if (what < 0.05 || !model) {
      const attrs = {by, n: number, a: number, b: null};
      collection.create(attrs, this.options('create', collection, attrs, {wait}));
    } else if (what < 0.15) {
      // As when somebody types: the newest is what the page shows, whatever comes in between.
      for (let i = 0; i < 3; i++) {
        const token = this.name + '-' + (this.count + 1), edit = {own: token};
        add(this.name, 'edit', {token, channel: collection.channel, id: String(model.id),
          name: 'own', value: token});
        model.save(edit, this.options('patch', collection, Object.assign({id: model.id}, edit),
          {patch: true}, model, edit));
      }
    } else if (what < 0.2) {
      model.unset(value < 0.5 ? 'a' : 'cid', {silent: true});
      const attrs = {by, n: number};
      model.save(attrs, this.options('update', collection, {id: model.id}, {}, model, attrs));
    } else if (what < 0.4) {
      const attrs = {by, n: number};
      model.save(attrs, this.options('update', collection, {id: model.id}, {wait}, model, attrs));
    } else if (what < 0.7) {
      const attrs = {by, [value < 0.5 ? 'a' : 'b']: number};
      model.save(attrs, this.options('patch', collection, {id: model.id}, {wait, patch: true},
        model, attrs));
    } else if (what < 0.78) {
      model.destroy(this.options('delete', collection, {id: model.id}, {wait}));
    } else if (what < 0.9) {
      model.fetch(this.options('read', collection, {id: model.id}));
    } else {
      collection.fetch(this.options('read', collection, {}, {reset: value < 0.3}));
    }
  },

  until(condition) {
    return new Promise(resolve => {
      const end = setTimeout(() => { clearInterval(timer); resolve(false); }, config.patience * 1000);
      const timer = setInterval(look, 20), client = this;
      function look() {
        if (!condition()) return;
        client.changed = null;
        clearInterval(timer);
        clearTimeout(end);
        resolve(true);
      }
      this.changed = look;
      look();
    });
  },

  async work() {
    for (let i = 0; i < config.requests; i++) {
      await this.until(() => this.pending.size < 6);
      this.step();
      await new Promise(resolve => setTimeout(resolve, this.chance() * 60));
    }
  },

  // The fence is the last change. What the library asked for by itself is answered after it at
  // the latest: the server answers in order, so one more round trip, without the library, tells.
  async fenced() {
    await this.until(() => this.collections.every(
      collection => collection.get(fenceOf(collection))));
    await this.until(() => this.collections.every(collection => !collection.stale));
    for (let round = 0; round < 2; round++) await this.roundTrip();
  },

  roundTrip() {
    const channel = this.collections[0].channel;
    const model = {id: fenceOf(this.collections[0])};
    const message = {method: 'read', model, options: {}, channel};
    return new Promise(resolve => {
      const end = setTimeout(resolve, config.patience * 1000);
      emit.call(this.socket, 'sync', message, () => { clearTimeout(end); resolve(); });
    });
  }
};

function tell(said) { process.stdout.write(JSON.stringify(said) + '\n'); }

async function main() {
  const lines = readline.createInterface({input: process.stdin})[Symbol.asyncIterator]();
  const clients = config.clients.map(given => new Client(given));
  await Promise.all(clients.map(client => client.until(
    () => client.collections.every(collection => collection.backend.connected)
  )));
  tell({said: 'ready'});
  await lines.next(); // go
  await Promise.all(clients.map(client => client.work()));
  tell({said: 'made'});
  await lines.next(); // drain
  const drained = await Promise.all(clients.map(client => client.until(() => !client.pending.size)));
  tell({said: 'drained', stuck: clients.filter((c, i) => !drained[i]).map(c => c.name)});
  await lines.next(); // fence
  await Promise.all(clients.map(client => client.fenced()));
  clients.forEach(client => client.collections.forEach(collection => {
    const models = Object.create(null);
    collection.each(model => { models[String(model.id)] = model.attributes; });
    add(client.name, 'final', {channel: collection.channel, models});
  }));
  tell({said: 'final'});
  await lines.next();
  process.exit(0);
}

process.on('uncaughtException', error => {
  add(config.clients[0].name, 'crash', {message: String(error && error.stack || error)});
});

main();
