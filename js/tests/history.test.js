// The log of changes, without sockets and without Backbone.
'use strict';

const {test, before, beforeEach} = require('node:test');
const assert = require('node:assert/strict');

let History, history;

before(async () => { ({History} = await import('../src/history.js')); });
beforeEach(() => { history = new History(); });

const key = row => (row.id == null ? null : ':' + row.id);
const had = (...ids) => name => ids.some(id => ':' + id === name);

// Records changes given as [method, model, whole?]; each has the next rev.
function record(...changes) {
  for (const [method, model, whole] of changes) {
    history.record({method, model, rev: history.rev + 1, whole: !!whole}, model && !Array.isArray(model) ? key(model) : null, true);
  }
}
const rows = entries => entries.map(entry => entry.row);
const present = (list, rev, whole, before = had()) => history.present(list, rev, whole, key, before);

test('each rev is heard once, and what has none always', () => {
  assert.deepEqual([1, 2, 2, 1, 3, undefined, undefined].map(rev => history.hears(rev)), [true, true, false, false, true, true, true]);
});

test('without a request under way only the rev is kept', () => {
  history.record({method: 'create', model: {id: 1}, rev: 7}, ':1', false);
  assert.deepEqual([history.rev, history.log.size], [7, 0]);
  history.record({method: 'create', model: {id: 1}}, ':1', true);
  assert.deepEqual([history.rev, history.log.size], [7, 0]);
});

test('later: the last state of each model, in the order of the last changes', () => {
  record(['create', {id: 1, a: 1}], ['create', {id: 2}], ['update', {id: 1, b: 2}], ['delete', {id: 2}], ['archive', {id: 3}]);
  assert.deepEqual(history.later(0).map(([name, {method, model, rev}]) => [name, method, model, rev]), [
    [':1', 'create', {id: 1, a: 1, b: 2}, 3], [':2', 'delete', {id: 2}, 4]
  ]);
  assert.deepEqual(history.later(3).map(([name]) => name), [':2']);
  assert.deepEqual(history.later(5), []);
  assert.deepEqual(history.later(undefined), []);
});

test('a whole change takes the place of what was before, a partial one adds to it', () => {
  record(['update', {id: 1, a: 1, b: 1}], ['update', {id: 1, a: 2}, true], ['update', {id: 1, c: 3}]);
  const [[, change]] = history.later(0);
  assert.deepEqual([change.model, change.whole], [{id: 1, a: 2, c: 3}, true]);
});

test('what was deleted and made again is new', () => {
  record(['create', {id: 1, old: true}], ['delete', {id: 1}], ['create', {id: 1, a: 1}]);
  const [[, change]] = history.later(0);
  assert.deepEqual([change.method, change.model], ['create', {id: 1, a: 1}]);
});

test('models without an id are changes of their own', () => {
  record(['create', {a: 1}], ['create', {a: 2}]);
  assert.equal(history.later(0).length, 2);
});

test('trim forgets up to a rev, or everything', () => {
  record(['create', {id: 1}], ['create', {id: 2}], ['create', {id: 3}]);
  history.trim(2);
  assert.deepEqual([...history.log.keys()], [':3']);
  history.trim(null);
  assert.equal(history.log.size, 0);
});

test('present: updates on top, deletes out, creates only where the list had them', () => {
  record(['update', {id: 1, a: 2}], ['delete', {id: 2}], ['create', {id: 3}], ['create', {id: 4}]);
  const entries = present([{id: 1, a: 1, b: 1}, {id: 2}], 0, false, had(3));
  assert.deepEqual(rows(entries), [{id: 1, a: 2, b: 1}, {id: 3}]);
  assert.deepEqual(entries.map(entry => entry.rev), [1, 3]);
});

test('present: an answer that is newer than everything stays as it is', () => {
  record(['update', {id: 1, a: 2}], ['delete', {id: 2}]);
  assert.deepEqual(rows(present([{id: 1, a: 9}, {id: 2}], 2, true)), [{id: 1, a: 9}, {id: 2}]);
  assert.deepEqual(rows(present([{id: 1, a: 9}], undefined)), [{id: 1, a: 9}]);
});

test('present: a reset with the rows begins anew, what follows is on top', () => {
  record(['update', {id: 1, a: 2}], ['reset', [{id: 5, a: 5}]], ['update', {id: 5, a: 6}], ['update', {id: 1, a: 7}]);
  assert.deepEqual(rows(present([{id: 1, a: 1}], 0)), [{id: 5, a: 6}]);
});

test('present: rows are whole when the answer or the change was', () => {
  record(['update', {id: 1, a: 2}], ['update', {id: 2, a: 2}, true]);
  const list = [{id: 1, s: 1}, {id: 2, s: 1}, {id: 3, s: 1}];
  assert.deepEqual(present(list, 0, true).map(entry => entry.whole), [true, true, true]);
  const partial = present(list, 0, false);
  assert.deepEqual(partial.map(entry => entry.whole), [false, true, false]);
  assert.deepEqual(rows(partial), [{id: 1, s: 1, a: 2}, {id: 2, a: 2}, {id: 3, s: 1}]);
});

test('present: odd rows and keys that every object has', () => {
  history.record({method: 'update', model: {id: 'constructor', a: 2}, rev: 1}, ':constructor', true);
  assert.deepEqual(rows(present([{id: 'constructor', a: 1}, {a: 1}, null].filter(Boolean), 0)), [{id: 'constructor', a: 2}, {a: 1}]);
});

test('renew: an answer with what changed since, parsed', () => {
  const parse = ({id, ...row}) => ({id, parsed: row.a});
  record(['update', {id: 1, a: 2}]);
  assert.deepEqual(history.renew({attrs: {id: 1, parsed: 1, more: 1}, rev: 0, whole: true}, ':1', key, parse),
    {attrs: {id: 1, parsed: 2, more: 1}, rev: 1, whole: true, gone: false});
  assert.deepEqual(history.renew({attrs: {id: 1}, rev: 1, whole: false}, ':1', key, parse), {attrs: {id: 1}, rev: 1, whole: false, gone: false});
  assert.deepEqual(history.renew({attrs: {id: 2}, rev: 0, whole: false}, ':2', key, parse), {attrs: {id: 2}, rev: 0, whole: false, gone: false});
  record(['update', {id: 1, a: 3}, true]);
  assert.deepEqual(history.renew({attrs: {id: 1, more: 1}, rev: 0, whole: false}, ':1', key, parse).attrs, {id: 1, parsed: 3});
});

test('renew: deleted since', () => {
  record(['delete', {id: 1}]);
  const renewed = history.renew({attrs: {id: 1, a: 1}, rev: 0, whole: true}, ':1', key, row => row);
  assert.deepEqual([renewed.gone, renewed.rev, renewed.attrs], [true, 1, {id: 1, a: 1}]);
});

test('renew: a reset with the rows tells what each model is, and what follows is on top', () => {
  const renew = id => history.renew({attrs: {id, old: 1}, rev: 1, whole: true}, ':' + id, key, row => row);
  record(['create', {id: 1}], ['reset', [{id: 1, a: 2}, {id: 2, a: 2}, {id: 3, a: 2}], true]);
  assert.deepEqual(renew(1), {attrs: {id: 1, a: 2}, rev: 2, whole: true, gone: false});
  assert.deepEqual([renew(4).gone, renew(4).rev], [true, 2]);
  record(['update', {id: 2, b: 3}], ['delete', {id: 3}], ['create', {id: 4, b: 5}, true]);
  assert.deepEqual(renew(2), {attrs: {id: 2, a: 2, b: 3}, rev: 3, whole: true, gone: false});
  assert.deepEqual([renew(3).gone, renew(3).rev], [true, 4]);
  assert.deepEqual(renew(4), {attrs: {id: 4, b: 5}, rev: 5, whole: true, gone: false});
  const newer = history.renew({attrs: {id: 9}, rev: 2, whole: true}, ':9', key, row => row);
  assert.equal(newer.gone, false, 'an answer as new as the reset stays');
});

test('another epoch begins with nothing', () => {
  record(['create', {id: 1}]);
  history.forget();
  assert.deepEqual([history.epoch, history.rev, history.heard, history.log.size], [null, 0, 0, 0]);
});

test('an answer that comes when we do not listen is not what a listen resumes from', () => {
  history.resume(3);
  history.record({method: 'update', model: {id: 1}, rev: 5}, ':1', false, true);
  history.record({method: 'update', model: {id: 2, own: true}, rev: 9}, ':2', true, false);
  assert.deepEqual([history.rev, history.upto], [9, 5]);
  // What was missed comes; of that model our own change and what is older is no news.
  history.heard = history.upto;
  assert.deepEqual([6, 7, 9, 10].map(rev => history.answered(':2', rev)), [true, true, true, false]);
  assert.deepEqual([6, 7, 9, 10].map(rev => history.answered(':1', rev)), [false, false, false, false]);
  assert.equal(history.answered(null, 6), false);
  history.record({method: 'update', model: {id: 2, own: false}, rev: 7}, ':2', true, true);
  assert.equal(history.log.get(':2').rev, 9, 'older news do not replace newer ones');
  history.resume(10);
  assert.deepEqual([history.rev, history.heard, history.upto, history.own.size], [10, 10, 10, 0]);
});
