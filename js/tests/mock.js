// A Socket.IO server that speaks the protocol of Backbone.IO, for tests of the browser
// side alone. What it does to a request can be replaced, held back, cut off or refused.
'use strict';

const http = require('node:http');
const {Server} = require('socket.io');

class Mock {
  constructor(names = ['messages'], options = {}) {
    this.http = http.createServer();
    this.io = new Server(this.http, options);
    this.backends = {};
    for (const name of names) this.backends[name] = new MockBackend(this, name);
  }

  async start() {
    await new Promise(resolve => this.http.listen(0, '127.0.0.1', resolve));
    this.url = 'http://127.0.0.1:' + this.http.address().port;
    return this;
  }

  // Cuts every connection below Socket.IO, as a network does.
  cut() {
    for (const socket of this.io.of('/').sockets.values()) socket.conn.close();
    for (const client of this.io.engine.clients ? Object.values(this.io.engine.clients) : []) client.close(true);
  }

  async stop() {
    await new Promise(resolve => this.io.close(resolve));
  }
}

class MockBackend {
  constructor(mock, name) {
    this.mock = mock;
    this.name = name;
    this.epoch = 'e1';
    this.rev = 0;
    this.journal = [];
    this.models = new Map();
    this.answers = new Map();
    this.requests = [];
    this.listens = [];
    this.leaves = [];
    this.handled = 0;
    this.nextId = 1;
    this.event = 'backend';
    this.vouches = false;          // tell which of the unanswered requests are unknown
    this.retryAfter = 0;           // sent with a reset
    this.whole = false;            // say that rows are whole
    this.refuse = null;            // (request) -> error, for listen
    this.joining = async () => {}; // awaited before a listen is answered
    this.before = async () => {};  // awaited before a request is handled
    this.after = async () => {};   // awaited between handling and answering
    this.handler = null;           // (request, backend) -> result, instead of the store
    this.io = mock.io.of('/' + name);
    this.io.on('connection', socket => this.connected(socket));
  }

  connected(socket) {
    socket.data.channels = new Set();
    let turn = Promise.resolve();
    socket.on('listen', async (arg, ack) => {
      const request = arg && typeof arg === 'object' ? arg : {channel: arg};
      const channel = request.channel == null ? null : request.channel;
      this.listens.push(request);
      await this.joining(request);
      const error = this.refuse && this.refuse(request);
      if (error) return ack({error});
      socket.data.channels.add(channel);
      socket.data.client = request.client;
      socket.data.last = channel;
      const answer = {event: this.event, channel, epoch: this.epoch, rev: this.rev};
      if (request.since) {
        const oldest = this.journal.length ? this.journal[0].rev : this.rev + 1;
        if (request.since.epoch !== this.epoch || request.since.rev + 1 < oldest) answer.reset = true;
        else {
          answer.missed = this.journal
            .filter(c => c.rev > request.since.rev && (c.channel === undefined || c.channel === channel))
            .map(c => [c.method, c.model, this.meta(c)]);
        }
      }
      if (request.unanswered && this.vouches) {
        answer.unknown = request.unanswered.filter(id => !this.answers.has(request.client + '/' + id));
        // What it does not ask for it has.
        for (const key of this.answers.keys()) {
          if (key.startsWith(request.client) && !request.unanswered.some(id => key.endsWith('/' + id))) this.answers.delete(key);
        }
      }
      if (answer.reset && this.retryAfter) answer.retryAfter = this.retryAfter;
      ack(answer);
    });
    socket.on('leave', (channel, ack) => {
      this.leaves.push(channel);
      socket.data.channels.delete(channel);
      if (ack) ack({channel});
    });
    socket.on('sync', (request, ack) => {
      this.requests.push(request);
      turn = turn.then(() => this.sync(socket, request, ack));
    });
  }

  async sync(socket, request, ack) {
    const channel = request.channel === undefined ? socket.data.last : request.channel;
    if (!socket.data.channels.has(channel)) {
      return ack({error: {name: 'Forbidden', message: 'not listening to this channel'}});
    }
    await this.before(request, socket);
    const key = socket.data.client + '/' + request.id;
    let answer = this.answers.get(key);
    if (!answer || request.method === 'read') {
      this.handled++;
      const before = this.rev;
      try {
        const result = this.handler ? await this.handler(request, this) : this.store(request);
        const rev = request.method === 'read' ? before : this.changed(request.method, result, channel, socket);
        answer = [null, result, {rev, epoch: this.epoch, ...(this.whole && {whole: true})}];
      } catch (error) {
        answer = [{error: {name: error.name, message: error.message, ...error.more}}];
      }
      this.answers.set(key, answer);
    }
    await this.after(request, socket);
    ack(...answer);
  }

  store({method, model}) {
    const missing = () => { throw Object.assign(new Error('no such model'), {name: 'NotFound'}); };
    if (method === 'read') {
      if (model.id === undefined) return [...this.models.values()];
      return this.models.get(model.id) || missing();
    }
    if (method === 'create') {
      const created = {...model, id: model.id === undefined ? this.nextId++ : model.id};
      this.models.set(created.id, created);
      return created;
    }
    if (!this.models.has(model.id)) missing();
    if (method === 'delete') {
      const old = this.models.get(model.id);
      this.models.delete(model.id);
      return old;
    }
    const updated = method === 'patch' ? {...this.models.get(model.id), ...model} : model;
    this.models.set(model.id, updated);
    return updated;
  }

  meta(change) {
    const {rev, channel} = change;
    return {rev, ...(channel !== undefined && {channel}), ...(this.whole && {whole: true})};
  }

  // Appends to the journal and tells everyone concerned but the origin. Returns the rev.
  changed(method, model, channel, origin) {
    const change = {method: method === 'patch' ? 'update' : method, model, channel, rev: ++this.rev};
    this.journal.push(change);
    for (const socket of this.io.sockets.values()) {
      if (socket === origin) continue;
      if (channel !== undefined && !socket.data.channels.has(channel)) continue;
      socket.emit('synced', change.method, model, this.meta(change));
    }
    return change.rev;
  }

  // A change made by server code; without a channel it reaches everyone.
  emit(method, model, channel) {
    if (model && method === 'delete') this.models.delete(model.id);
    else if (model && !Array.isArray(model)) this.models.set(model.id, {...this.models.get(model.id), ...model});
    if (model && model.id >= this.nextId) this.nextId = model.id + 1;
    return this.changed(method, model, channel);
  }
}

module.exports = {Mock};
