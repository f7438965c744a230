// What a page sees of a request is what it would see with Backbone's own sync: the same
// events and callbacks in the same order, with the same arguments.
'use strict';

const {test, describe, before, after} = require('node:test');
const assert = require('node:assert/strict');
const {JSDOM} = require('jsdom');
const {Mock} = require('./mock.js');
const {page, event, VERSIONS} = require('./page.js');

const jquery = require('jquery')(new JSDOM('').window);

// Each is called with a collection of one model, that model and options, against an answer;
// an error is refused with it.
const error = {error: {name: 'NotFound', message: 'no such model'}};
const row = {id: 1, text: 'answer', more: true};
const calls = {
  'collection.fetch': [(c, m, o) => c.fetch(o()), [row, {id: 2}]],
  'collection.fetch, failing': [(c, m, o) => c.fetch(o()), error],
  'collection.fetch, answered with null': [(c, m, o) => c.fetch(o()), null],
  'collection.fetch, answered with an object': [(c, m, o) => c.fetch(o()), {id: 4}],
  'collection.fetch with reset': [(c, m, o) => c.fetch(o({reset: true})), [row, {id: 2}]],
  'collection.fetch without remove': [(c, m, o) => c.fetch(o({remove: false})), [{id: 3}]],
  'collection.fetch without merge': [(c, m, o) => c.fetch(o({merge: false})), [{id: 3}, row]],
  'fetch': [(c, m, o) => m.fetch(o()), row],
  'fetch, failing': [(c, m, o) => m.fetch(o()), error],
  'save': [(c, m, o) => m.save({text: 'new'}, o()), row],
  'save, failing': [(c, m, o) => m.save({text: 'new'}, o()), error],
  'save, answered with null': [(c, m, o) => m.save(null, o()), null],
  'save with wait': [(c, m, o) => m.save({text: 'new'}, o({wait: true})), row],
  'save with wait, failing': [(c, m, o) => m.save({text: 'new'}, o({wait: true})), error],
  'save with patch': [(c, m, o) => m.save({text: 'new'}, o({patch: true})), row],
  'destroy': [(c, m, o) => m.destroy(o()), row],
  'destroy with wait': [(c, m, o) => m.destroy(o({wait: true})), row],
  'destroy with wait, failing': [(c, m, o) => m.destroy(o({wait: true})), error],
  'create': [(c, m, o) => c.create({text: 'new'}, o()), {id: 9, text: 'new'}],
  'create, failing': [(c, m, o) => c.create({text: 'new'}, o()), error],
  'create with wait': [(c, m, o) => c.create({text: 'new'}, o({wait: true})), {id: 9, text: 'new'}],
  'create with wait, failing': [(c, m, o) => c.create({text: 'new'}, o({wait: true})), error]
};

for (const backbone of VERSIONS) for (const $ of [undefined, jquery]) {
  describe(`Backbone ${backbone}, ${$ ? 'with' : 'without'} jQuery: as with Backbone's own sync`, () => {
    let mock, ours, own;

    before(async () => {
      mock = await new Mock().start();
      ours = page({backbone, jquery: $});
      ours.connect(mock.url);
      own = page({backbone, jquery: $});
    });
    after(async () => {
      ours.close();
      await mock.stop();
    });

    // Plays a call; returns what the page saw, without the events of the backend.
    async function play({Backbone}, attrs, call) {
      const log = [], context = {};
      const collection = new (Backbone.Collection.extend(attrs))([{id: 1, text: 'old'}]), model = collection.get(1);
      const names = new Map([[collection, 'collection'], [model, 'model'], [context, 'context']]);
      const name = value => {
        if (names.has(value)) return names.get(value);
        if (value instanceof Backbone.Model) return 'another model ' + JSON.stringify(value);
        if (value && typeof value.then === 'function') return 'promise';
        return value && value.given ? 'options ' + JSON.stringify(value, ['given', 'wait', 'patch', 'parse', 'validate',
          'add', 'merge', 'remove', 'reset']) : JSON.stringify(value);
      };
      const note = (...args) => log.push(args.map(name).join(' '));

      await attrs.ready(collection);
      let settled;
      const done = new Promise(resolve => { settled = resolve; });
      for (const object of [collection, model]) {
        object.on('all', (what, ...args) => { if (!/^backend/.test(what)) note(object, what, ...args); });
      }
      const options = more => ({
        given: true, context, ...more,
        // The last argument is the options; jQuery's own between are no part of Backbone.
        success(...args) { note('success', this, ...args); setTimeout(settled); },
        error(...args) { note('error', this, ...args); setTimeout(settled); }
      });
      note('returned', call(collection, model, options));
      await done;
      note('left', collection.toJSON());
      return log;
    }

    for (const [title, [call, answer]] of Object.entries(calls)) test(title, async () => {
      mock.backends.messages.handler = () => {
        if (answer === error) throw Object.assign(new Error(error.error.message), {name: error.error.name});
        return answer;
      };
      own.Backbone.ajax = params => {
        setTimeout(() => params[answer === error ? 'error' : 'success'].call(params.context, answer));
        return new Promise(() => {});
      };
      const expected = await play(own, {url: '/messages', ready() {}}, call);
      const seen = await play(ours, {backend: 'messages', ready: c => c.backend.connected || event(c, 'backend:connect')}, call);
      assert.deepEqual(seen, expected);
    });
  });
}
