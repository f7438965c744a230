// What a page has set and not saved, where the answer to a create is lost and the create is sent
// again: in every order of what the page and others do meanwhile.
'use strict';

const {test, describe} = require('node:test');
const assert = require('node:assert/strict');
const {connected, content, gate, until} = require('./page.js');

// What happens between the loss of the answer and its coming again. The page has two models of the
// row then: the one that it has made, and the one of which it was told.
const STEPS = {
  'sets on the first': ({first}) => { first.set({note: 'mine'}); },
  'sets on the second': ({second}) => { second.set({memo: 'mine too'}); },
  'others change it': ({backend}) => { backend.emit('update', {id: 1, text: 'one', by: 'others'}); },
  'saves the first': ({first, saves}) => { saves.push(first.save()); },
  'sets it on the first': ({first}) => { first.set({last: 'first'}); },
  'sets it on the second': ({second}) => { second.set({last: 'second'}); },
  'saves the second in part': ({second, saves}) => { saves.push(second.save({more: 1}, {patch: true})); }
};

function* orders(names, length) {
  if (!length) { yield []; return; }
  for (const name of names) for (const rest of orders(names.filter(other => other !== name), length - 1)) yield [name, ...rest];
}

for (const backbone of ['1.1.2', '1.6']) describe('Backbone ' + backbone, () => {
  let mock, backend;
  const {bound, store} = connected(backbone, made => { ({mock, backend} = made); });

  for (const length of [1, 2]) for (const order of orders(Object.keys(STEPS), length)) test(order.join(', '), async () => {
    const [a, b] = [await bound(), await bound()];
    const held = gate(), saves = [];
    let cut = true;
    backend.after = request => { if (request.method === 'create' && cut) { cut = false; mock.cut(); } };
    backend.before = request => (request.method === 'create' && !cut ? held.pass() : undefined);
    const first = a.create({text: 'one'});
    await until(() => a.get(1) && a.get(1) !== first);
    const second = a.get(1);
    for (const name of order) STEPS[name]({first, second, backend, saves});
    held.open();
    await Promise.all(saves);
    await until(() => a.length === 1 && first.id === 1);
    if (order.includes('others change it') && !saves.length) await until(() => first.get('by') === 'others');
    assert.equal(a.at(0), first);
    assert.equal(new Set(backend.requests.filter(r => r.method === 'create').map(r => r.id)).size, 1);
    if (order.includes('sets on the first')) assert.equal(first.get('note'), 'mine');
    if (order.includes('sets on the second')) assert.equal(first.get('memo'), 'mine too');
    if (order.includes('saves the second in part')) assert.equal(first.get('more'), 1);
    await until(() => content(b).length === 1);
    const last = order.filter(name => name.startsWith('sets it')).at(-1);
    if (last) assert.equal(first.get('last'), last.split(' ').at(-1));
    assert.equal(store().length, 1);
    for (const [name, value] of Object.entries(store()[0])) await until(() => b.at(0).get(name) === value);
    for (const [name, value] of Object.entries(store()[0])) assert.equal(first.get(name), value, name);
    const shown = content(a);
    await first.save();
    assert.deepEqual(store(), shown, 'what was set is saved by the next save');
  });
});
