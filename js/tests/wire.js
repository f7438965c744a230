// A server and a network without sockets, that a test moves on one message at a time.
'use strict';

const NAMES = ['n', 'a', 'toString'];
const json = value => JSON.parse(JSON.stringify(value));

// Numbers from 0 to 1 that a seed decides (mulberry32).
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// On which of two pages of the list a row is.
const partOf = id => (Number(id) % 2 === 0 ? 0 : 1);

// A server of one channel: what it did is in `journal`, what it answered in `answers`.
class Server {
  constructor(chance) { Object.assign(this, {chance, rev: 0, last: 100, journal: [], rows: new Map(), answers: new Map(), wire: null}); }

  commit(method, row, origin) {
    if (method === 'delete') this.rows.delete(row.id); else if (method !== 'reset') this.rows.set(row.id, row);
    const change = [method, row, {rev: ++this.rev, channel: null, whole: true}];
    this.journal.push(change);
    if (this.wire && this.wire.joined && !origin) this.wire.tell('event', change);
    return {...change[2], epoch: 'e'};
  }

  // The row as of a rev; null where there is none.
  asOf(id, rev) {
    const last = this.journal.filter(([method, row, meta]) => method !== 'reset' && row.id === id && meta.rev <= rev).at(-1);
    return last && last[0] !== 'delete' ? last[1] : null;
  }

  handle({id, method, model, options}) {
    if (method === 'read') return this.answer(method, model, true, options.page);
    if (!this.answers.has(id)) this.answers.set(id, this.answer(method, model));
    return this.answers.get(id);
  }

  // `origin`: the page will not hear of it as an event. `part`: that page of the list, of two, or else all.
  answer(method, model, origin = true, part = null) {
    const old = this.rows.get(model.id), fail = name => [{error: {name, message: name}}];
    if (method === 'read') {
      const meta = {rev: this.rev, epoch: 'e', whole: true};
      if (model.id === undefined) return [null, [...this.rows.values()].filter(({id}) => part === null || partOf(id) === part), meta];
      return old ? [null, old, meta] : fail('NotFound');
    }
    if (!old && method !== 'create') return fail('NotFound');
    if (this.chance() < 0.2) return fail('Invalid');
    if (method === 'delete') return [null, {id: model.id}, this.commit('delete', {id: model.id}, origin)];
    const row = {id: method === 'create' ? ++this.last : model.id, by: 'page'}; // it keeps no `open`
    for (const name of NAMES) for (const from of method === 'patch' ? [old, model] : [model]) if (Object.hasOwn(from, name)) row[name] = from[name];
    return [null, row, this.commit(method === 'create' ? method : 'update', row, origin)];
  }

  listen(request) {
    this.wire.joined = true;
    const answer = {event: 'backend', channel: null, epoch: 'e', rev: this.rev, unknown: []};
    if (request.since) {
      if (this.chance() < 0.4) answer.reset = true;
      else answer.missed = this.journal.filter(change => change[2].rev > request.since.rev);
    }
    // Now and then it has forgotten what it did.
    for (const id of request.unanswered) if (this.answers.has(id) && this.chance() < 0.2) answer.unknown.push(id);
    return [answer];
  }
}

// Socket.IO's client as far as it is used, over two queues.
class Wire {
  constructor(server) {
    const handlers = this.handlers = {};
    this.server = server;
    const socket = this.socket = {
      connected: false, active: true, sendBuffer: [], listeners: () => [],
      on(name, fn) { handlers[name] = fn; }, connect() {}, open() {}, disconnect() {}, close() {},
      emit: (name, request, ack) => { this.up.push({name, request, ack}); }
    };
    socket.io = {opts: {}, on() {}, socket: () => socket};
    this.clear();
  }

  clear() { this.up = []; this.down = []; this.joined = false; }
  tell(kind, content, ack) { this.down.push({kind, content: json(content), ack}); }

  // The server takes one message.
  take() {
    const {name, request, ack} = this.up.shift();
    if (name === 'leave') { this.joined = false; return; }
    this.tell(name, name === 'listen' ? this.server.listen(json(request)) : this.server.handle(json(request)), ack);
  }

  // The page gets one message.
  give() {
    const {ack, content} = this.down.shift();
    if (ack) ack(...content); else this.handlers.synced(...content);
  }

  connect() {
    this.socket.connected = true;
    this.handlers.connect();
  }

  // What was on its way is lost, though some of it has reached the server.
  cut(chance) {
    while (this.up.length && chance() < 0.5) this.take();
    this.clear();
    this.socket.connected = false;
    this.handlers.disconnect();
  }
}

// REST views of the same rows, asked by `Backbone.ajax`. Answers come in any order, and may be lost:
// nobody answers, or a proxy does, or only the promise tells. Some views tell no rev.
class Rest {
  constructor(server) { Object.assign(this, {server, asked: [], tells: server.chance() < 0.5}); }

  ajax(params) {
    return new Promise((over, fail) => this.asked.push({params, over, fail, answer: null}));
  }

  // The server takes one of them, or the page gets the answer.
  move(chance, careful) {
    const at = careful ? 0 : Math.floor(chance() * this.asked.length), one = this.asked[at], {params} = one;
    if (!one.answer) {
      const [, , id] = params.url.split('/'), header = this.tells ? `items=e:${this.server.rev}` : null;
      const method = {GET: 'read', POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete'}[params.type];
      const data = method === 'read' ? null : params.data, part = method === 'read' && params.data ? params.data.page : null;
      const model = {...(data && JSON.parse(data)), ...(id && {id: Number(id) || id})};
      const lost = chance() < 0.15, reached = !lost || chance() < 0.5;
      const [error, row] = reached ? this.server.answer(method, model, false, part) : [];
      const status = lost ? [0, 503, method === 'read' ? null : 0][Math.floor(chance() * 3)] : error ? (error.error.name === 'NotFound' ? 404 : 400) : 200;
      one.answer = {status, row: json(row || null), xhr: {status, getResponseHeader: () => header}};
      return;
    }
    this.asked.splice(at, 1);
    const {status, row, xhr} = one.answer;
    if (status === null) return one.fail(new Error('nobody answers'));
    if (status === 200) params.success(row, 'success', xhr); else params.error(xhr);
    one.over();
  }
}

module.exports = {NAMES, Rest, generator, Server, Wire, json};
