// inspect(): what is under way, and why a model is what it is.
'use strict';

const {test, before, after, beforeEach, afterEach} = require('node:test');
const assert = require('node:assert/strict');
const {Mock} = require('./mock.js');
const {page, event, until} = require('./page.js');

let mock, backend, window, Messages;

before(async () => { mock = await new Mock(['messages']).start(); });
after(() => mock.stop());
beforeEach(() => {
  backend = mock.backends.messages;
  window = page({});
  Messages = window.Backbone.Collection.extend({backend: 'messages'});
});
afterEach(() => { window.close(); backend.models.clear(); });

const json = value => JSON.parse(JSON.stringify(value));

test('before anything connects', async () => {
  const messages = new Messages().bindBackend();
  messages.create({text: 'one'});
  await until(() => window.Backbone.io.inspect().backends[0].channels[0].objects === 1);
  const found = json(window.Backbone.io.inspect());
  assert.equal(found.connected, false);
  assert.deepEqual(found.last, []);
  const [one] = found.backends;
  assert.deepEqual([one.name, one.connected, one.flying], ['messages', false, []]);
  assert.equal(one.queue.length, 1);
  assert.deepEqual(one.queue[0], {id: one.queue[0].id, method: 'create', channel: null, sent: false});
  assert.deepEqual(one.channels, [{channel: null, state: 'idle', epoch: null, rev: 0, objects: 1, stale: 0, revs: {}}]);
});

test('requests, revs, and what was told', async () => {
  const messages = new Messages().bindBackend();
  window.connect(mock.url);
  await event(messages, 'backend:connect');
  const model = messages.create({text: 'one'});
  assert.equal(window.Backbone.io.inspect().backends[0].flying[0].sent, true);
  await event(model, 'sync');
  const found = window.Backbone.io.inspect();
  assert.deepEqual(json(found.backends[0].flying), []);
  assert.deepEqual(json(found.backends[0].channels[0].revs), {[model.id]: found.backends[0].channels[0].rev});
  assert.deepEqual(json(found.last).map(step => [step.how, step.method, step.model]), [['answer', 'create', model.id]]);
});

test('why a model is what it is', async () => {
  const messages = new Messages().bindBackend();
  window.connect(mock.url);
  await event(messages, 'backend:connect');
  const model = messages.create({text: 'one'}), other = messages.create({text: 'other'});
  await Promise.all([event(model, 'sync'), event(other, 'sync')]);

  const there = page({});
  const theirs = new (there.Backbone.Collection.extend({backend: 'messages'}))();
  there.connect(mock.url);
  await event(theirs, 'backend:connect');
  await theirs.fetch();
  theirs.get(model.id).save({text: 'two'});
  await until(() => model.get('text') === 'two');
  model.set('draft', 1);

  const reasons = window.Backbone.io.inspect(model);
  assert.deepEqual(json(reasons.changes).map(step => [step.how, step.method]), [['answer', 'create'], ['event', 'update']]);
  assert.equal(reasons.rev, reasons.changes[1].rev);
  assert.deepEqual([reasons.backend, reasons.channel, reasons.said.text], ['messages', null, 'two']);
  assert.deepEqual(json(reasons.unsaved), ['draft']);
  there.close();
});

test('a refusal', async () => {
  const messages = new Messages().bindBackend();
  window.connect(mock.url);
  await event(messages, 'backend:connect');
  const model = messages.add({id: 'nowhere'});
  model.destroy({wait: true});
  await event(messages, 'error');
  const {changes} = window.Backbone.io.inspect(model);
  assert.deepEqual(json(changes).map(step => [step.how, step.method, step.error]), [['refusal', 'delete', 'NotFound']]);
});

test('a model without a backend', () => {
  const model = new window.Backbone.Model({id: 1, a: 1});
  const {id, backend: name, changes} = window.Backbone.io.inspect(model);
  assert.deepEqual([id, name, json(changes)], [1, null, []]);
});
