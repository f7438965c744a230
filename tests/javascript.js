// Scenarios for test_javascript.py: the real client against a live server.
// Usage: node javascript.js <scenario> <url>; prints what it found as JSON.
'use strict';

const path = require('node:path');
const {createRequire} = require('node:module');
const js = createRequire(path.join(__dirname, '..', 'js', 'package.json'));

// Every page is a realm of its own, as in a browser: it loads everything anew.
function open(url, settings) {
  for (const file of Object.keys(require.cache)) {
    if (/node_modules.(backbone|underscore|lodash).|backbone\.io\.js$/.test(file)) delete require.cache[file];
  }
  const Backbone = js('backbone');
  js('./dist/backbone.io.js');
  const socket = Backbone.io.connect(url, {
    forceNew: true, reconnectionDelay: 10, reconnectionDelayMax: 50, ...settings
  });
  const collection = (backend, more) => {
    const made = new (Backbone.Collection.extend({backend, ...more}))();
    made.bindBackend();
    return made;
  };
  return {Backbone, socket, collection};
}

const event = (object, name) => new Promise((resolve, reject) => {
  const late = setTimeout(() => reject(new Error('waited in vain for ' + name)), 10000);
  object.once(name, (...args) => { clearTimeout(late); resolve(args); });
});


// The outcome of save(), fetch(), destroy(): what the callbacks were given.
const outcome = start => new Promise(resolve => start({
  success: () => resolve({ok: true}),
  error: (object, answer) => resolve(answer)
}));

const heard = page => new Promise(resolve => {
  page.bindBackend();
  page.fetch({success: resolve, error: (object, answer) => { throw new Error(JSON.stringify(answer)); }});
});

const scenarios = {
  async crud(url) {
    const ada = open(url).collection('messages'), eve = open(url).collection('messages');
    await Promise.all([heard(ada), heard(eve)]);
    const steps = [];
    let told = event(eve, 'backend:create');
    let model;
    await outcome(o => { model = ada.create({text: 'hi'}, {wait: true, ...o}); });
    steps.push(['create', (await told)[0], eve.toJSON()]);
    told = event(eve, 'backend:update');
    await outcome(o => model.save({text: 'ho'}, o));
    steps.push(['update', (await told)[0], eve.toJSON()]);
    told = event(eve, 'backend:update');
    await outcome(o => model.save({more: 1}, {patch: true, ...o}));
    steps.push(['patch', (await told)[0], eve.toJSON()]);
    const generic = event(eve, 'backend');
    await outcome(o => model.destroy({wait: true, ...o}));
    steps.push(['delete', ...await generic, eve.toJSON()]);
    return {steps, ada: ada.toJSON()};
  },

  async channels(url) {
    const page = open(url), other = open(url);
    const room = page.collection({name: 'messages', channel: 'room'});
    const hall = page.collection({name: 'messages', channel: 'hall'});
    const author = other.collection({name: 'messages', channel: 'room'});
    await Promise.all([heard(room), heard(hall), heard(author)]);
    const told = event(room, 'backend:create');
    await outcome(o => author.create({text: 'in the room'}, o));
    await told;
    return {room: room.length, hall: hall.length};
  },

  async errors(url) {
    const page = open(url);
    const messages = page.collection('messages'), secret = page.collection('secret');
    const refusal = event(secret, 'error');
    await heard(messages);
    const refused = (await refusal)[1];
    const ghost = new messages.model({id: 'ghost'}, {collection: messages});
    const missing = await outcome(o => ghost.save({text: 'x'}, o));
    const invalid = await outcome(o => messages.create({text: ''}, {wait: true, ...o}));
    return {refused, missing, invalid, length: messages.length};
  },

  async custom(url) {
    const page = open(url), other = open(url);
    const mine = page.collection('messages'), theirs = other.collection('messages');
    await Promise.all([heard(mine), heard(theirs)]);
    const model = mine.create({text: 'old'}, {wait: true});
    await event(mine, 'sync');
    const told = event(theirs, 'backend');
    // The announcement of the creation may be on its way still.
    const archived = new Promise(resolve => theirs.on('backend', (method, answer) => {
      if (method === 'archive') resolve(answer);
    }));
    const answer = await new Promise(resolve => model.sync('archive', model, {success: resolve}));
    await told;
    return {answer, announced: await archived};
  },

  async prefix(url) {
    const page = open(url), other = open(url);
    const mine = page.collection('messages'), theirs = other.collection('messages');
    await Promise.all([heard(mine), heard(theirs)]);
    const told = event(theirs, 'changed:create');
    await outcome(o => mine.create({text: 'hi'}, o));
    return {told: (await told)[0]};
  },

  async emit(url) {
    const messages = open(url).collection('messages');
    await heard(messages);
    let told = event(messages, 'backend:create');
    await fetch(url + '/emit/created');
    await told;
    const created = messages.toJSON();
    told = event(messages, 'backend:delete');
    await fetch(url + '/emit/deleted');
    await told;
    return {created, left: messages.toJSON()};
  },

  // An attribute that one page takes away, and an integer that no browser can count.
  async whole(url) {
    const ada = open(url).collection('messages'), eve = open(url).collection('messages');
    await Promise.all([heard(ada), heard(eve)]);
    let told = event(eve, 'add');
    await outcome(o => ada.create({text: 'hi', s: 1, big: 9007199254740993n}, {wait: true, ...o}));
    await told;
    eve.at(0).set('own', true);
    told = event(eve.at(0), 'change');
    ada.at(0).unset('s');
    await outcome(o => ada.at(0).save({text: 'ho'}, o));
    await told;
    return {ada: ada.toJSON(), eve: eve.toJSON()};
  },

  async reconnect(url) {
    const page = open(url), messages = page.collection('messages');
    await heard(messages);
    const gone = event(page.socket.io, 'close');
    page.socket.io.reconnection(false);
    page.socket.io.engine.close();
    await gone;
    await fetch(url + '/emit/created');
    const missed = event(messages, 'backend:create');
    const saved = outcome(o => messages.create({text: 'written offline'}, o));
    page.socket.io.reconnection(true);
    page.socket.connect();
    await Promise.all([missed, saved]);
    return {models: messages.toJSON()};
  },

  async reset(url) {
    const page = open(url), messages = page.collection('messages');
    await heard(messages);
    const gone = event(page.socket.io, 'close');
    page.socket.io.reconnection(false);
    page.socket.io.engine.close();
    await gone;
    await fetch(url + '/many');
    const told = event(messages, 'backend:reset');
    page.socket.io.reconnection(true);
    page.socket.connect();
    await told;
    while (messages.length !== 30) await new Promise(resolve => setTimeout(resolve, 5));
    return {length: messages.length};
  }
};

const [scenario, url] = process.argv.slice(2);
scenarios[scenario](url).then(
  found => { console.log(JSON.stringify(found)); process.exit(0); },
  error => { console.error(error); process.exit(1); }
);
