// What a model shows, case by case, without sockets and without Backbone. A case is a list of
// steps; what is shown is a row.
'use strict';

const {test, before, beforeEach} = require('node:test');
const assert = require('node:assert/strict');

let Shadow, now, shadow, shown, saves;

before(async () => { ({Shadow, now} = await import('../src/shadow.js')); });
beforeEach(() => { shadow = new Shadow(); shown = {}; saves = {}; });

function show({set, drop}) {
  Object.assign(shown, set);
  for (const name of drop) delete shown[name];
}

// The page sets attributes; undefined takes one away.
function set(attrs) {
  const old = {...shown};
  for (const [name, value] of Object.entries(attrs)) if (value === undefined) delete shown[name]; else shown[name] = value;
  shadow.edit(Object.keys(attrs), old, shown);
}

// The page saves: all it shows or, `patch`, some of it; with `wait` it is shown with the answer.
function save(name, attrs = {}, how = '') {
  const wait = how.includes('wait'), patch = how.includes('patch');
  if (!wait) set(attrs);
  saves[name] = {asked: attrs};
  shadow.begin(saves[name], patch ? attrs : {...shown, ...attrs}, wait, patch, shown);
}

function say(row, rev, arrival) {
  const last = shadow.revOf('e'), old = last > rev;
  const given = old ? shadow.latest(row, rev) : row;
  show(shadow.say(given, {...arrival, whole: arrival.whole || old, answered: row}, shown));
  shadow.stamp('e', old ? last : rev, !old && arrival.whole);
}

const event = (rev, row) => { if (!(shadow.revOf('e') >= rev)) say(row, rev, {whole: true}); };
const part = (rev, row) => { if (!(shadow.revOf('e') >= rev)) say(row, rev, {}); };
const asks = name => { saves[name] = {since: now()}; };
const fetched = (name, rev, row) => say(row, rev, {whole: true, since: saves[name].since});

function answer(name, rev, row, whole = true) {
  say(row, rev, {whole, save: saves[name], asked: saves[name].asked});
  show(shadow.end(saves[name], false, shown));
}
const refused = name => show(shadow.end(saves[name], true, shown));
const steps = {set, save, event, part, asks, fetched, answer, refused};

const cases = {
  'an event': [['event', 1, {a: 1}], {a: 1}, ['event', 2, {a: 2, b: 2}], {a: 2, b: 2}],
  'an older event': [['event', 2, {a: 2}], ['event', 1, {a: 1}], {a: 2}],
  'a whole row takes away': [['event', 1, {a: 1, b: 1}], ['event', 2, {b: 2}], {b: 2}],
  'another row does not': [['event', 1, {a: 1, b: 1}], ['part', 2, {b: 2}], {a: 1, b: 2}],
  'names that every object has': [
    ['event', 1, {toString: 1, constructor: 1}], ['set', {toString: 'mine'}], ['event', 2, {constructor: 2}],
    {toString: 'mine', constructor: 2}, ['save', 'p'], ['refused', 'p'], {constructor: 2},
    ['event', 3, {}], {}
  ],
  'what the page alone has set stays': [
    ['event', 1, {a: 1}], ['set', {open: true}], ['event', 2, {a: 2}], {a: 2, open: true},
    ['save', 'p', {a: 3}], ['answer', 'p', 3, {a: 3}], ['event', 4, {a: 4}], {a: 4, open: true}
  ],
  'it is the server\'s once it was sent': [
    ['event', 1, {a: 1}], ['set', {open: true}], ['part', 2, {open: false}], {a: 1, open: true},
    ['event', 3, {a: 3}], {a: 3, open: true}, ['save', 'p'], ['refused', 'p'], {a: 3}
  ],
  'an edit is kept from events': [
    ['event', 1, {a: 1, b: 1}], ['set', {a: 'mine'}], ['event', 2, {a: 2, b: 2}], {a: 'mine', b: 2},
    ['event', 3, {b: 3}], {a: 'mine', b: 3}
  ],
  'set back, it is none': [['event', 1, {a: 1}], ['set', {a: 2}], ['set', {a: 1}], ['event', 2, {a: 3}], {a: 3}],
  'when others make the same of it, it is none': [
    ['event', 1, {a: 1}], ['set', {a: 2}], ['event', 2, {a: 2}], ['event', 3, {a: 3}], {a: 3}
  ],
  'taken away again, it is none': [
    ['event', 1, {a: 1}], ['set', {n: 2}], ['set', {n: undefined}], ['event', 2, {a: 1, n: 3}], {a: 1, n: 3}
  ],
  'set back while a save is under way, it is one': [
    ['event', 1, {a: 1}], ['save', 'p', {a: 2}], ['set', {a: 1}], ['answer', 'p', 2, {a: 2}], {a: 1}
  ],
  'set back while a save is under way that is then refused, it is none': [
    ['event', 1, {a: 1}], ['save', 'p', {a: 2}], ['set', {a: 1}], ['refused', 'p'], {a: 1}, ['event', 2, {a: 3}], {a: 3}
  ],
  'an edit that takes away': [
    ['event', 1, {a: 1, b: 1}], ['set', {a: undefined}], ['event', 2, {a: 2, b: 2}], {b: 2},
    ['save', 'p'], ['event', 3, {a: 3, b: 3}], {b: 3}, ['answer', 'p', 4, {b: 3}], {b: 3}, ['event', 5, {a: 5, b: 5}], {a: 5, b: 5}
  ],
  'an edit that takes away, was refused and is saved again': [
    ['event', 1, {a: 1, b: 1}], ['set', {a: undefined}], ['save', 'p'], ['refused', 'p'], {b: 1},
    ['save', 'q'], ['event', 2, {a: 2, b: 2}], {b: 2}, ['answer', 'q', 3, {b: 2}], {b: 2}
  ],
  'a fetch ends edits from before it': [
    ['event', 1, {a: 1, b: 1}], ['set', {a: 2}], ['asks', 'f'], ['set', {b: 2}], ['fetched', 'f', 1, {a: 1, b: 1}], {a: 1, b: 2}
  ],
  'so does one that is old': [
    ['event', 1, {a: 1}], ['set', {a: 'mine'}], ['asks', 'f'], ['event', 3, {a: 3}], {a: 'mine'}, ['fetched', 'f', 2, {a: 2}], {a: 3}
  ],
  'but not saves under way': [
    ['event', 1, {a: 1}], ['save', 'p', {a: 2}], ['asks', 'f'], ['fetched', 'f', 1, {a: 1}], {a: 2}, ['answer', 'p', 2, {a: 2}], {a: 2}
  ],
  'a slider': [
    ['event', 1, {a: 0}], ['save', 'p', {a: 1}], ['save', 'q', {a: 2}], ['answer', 'p', 2, {a: 1}], {a: 2},
    ['event', 3, {a: 9}], {a: 2}, ['answer', 'q', 4, {a: 2.5}], {a: 2.5}, ['event', 5, {a: 5}], {a: 5}
  ],
  'the last one of it is refused': [
    ['event', 1, {a: 0}], ['save', 'p', {a: 1}], ['save', 'q', {a: 2}], ['answer', 'p', 2, {a: 1}], ['refused', 'q'], {a: 1}
  ],
  'all of it is refused, and nothing was heard': [
    ['event', 1, {a: 0}], ['save', 'p', {a: 1}], ['save', 'q', {a: 2}], ['refused', 'p'], ['refused', 'q'], {a: 2},
    ['event', 2, {a: 3}], {a: 3}
  ],
  'the last one of it times out first': [
    ['event', 1, {a: 0}], ['save', 'p', {a: 1}], ['save', 'q', {a: 2}], ['refused', 'q'], {a: 2}, ['event', 2, {a: 9}], {a: 2},
    ['answer', 'p', 3, {a: 1}], {a: 1}
  ],
  'the last one of it is answered first': [
    ['event', 1, {a: 0}], ['save', 'p', {a: 1}], ['save', 'q', {a: 2}], ['answer', 'q', 3, {a: 2}], {a: 2},
    ['event', 4, {a: 4}], {a: 4}, ['answer', 'p', 2, {a: 1}], {a: 4}
  ],
  'refused, what was taken away meanwhile is away': [
    ['event', 1, {a: 1, b: 1}], ['save', 'p', {a: 2}], ['event', 2, {b: 2}], {a: 2, b: 2}, ['refused', 'p'], {b: 2}
  ],
  'refused, what was changed since is kept': [
    ['event', 1, {a: 1}], ['save', 'p', {a: 2}], ['event', 2, {a: 9}], ['set', {a: 3}], ['refused', 'p'], {a: 3},
    ['save', 'q'], ['refused', 'q'], {a: 9}
  ],
  'the answer to a patch leaves what it does not cover': [
    ['event', 1, {a: 1, b: 1}], ['set', {a: 'typed'}], ['save', 'p', {b: 2}, 'patch'], ['answer', 'p', 2, {a: 1, b: 2}],
    {a: 'typed', b: 2}, ['event', 3, {a: 3, b: 3}], {a: 'typed', b: 3}, ['save', 'q'], ['answer', 'q', 4, {a: 'typed', b: 3}],
    ['event', 5, {a: 5, b: 5}], {a: 5, b: 5}
  ],
  'wait: shown with the answer': [
    ['event', 1, {a: 1}], ['save', 'p', {a: 2}, 'wait'], {a: 1}, ['event', 2, {a: 9}], {a: 9}, ['answer', 'p', 3, {a: 2}], {a: 2}
  ],
  'wait: what the server does not keep is the page\'s': [
    ['event', 1, {a: 1}], ['save', 'p', {a: 2, open: 1}, 'wait'], ['answer', 'p', 2, {a: 2}], {a: 2, open: 1}, ['event', 3, {a: 3}], {a: 3, open: 1}
  ],
  'wait: what it had before and does not keep is gone': [
    ['event', 1, {a: 1, b: 1}], ['save', 'p', {b: 2}, 'wait'], ['answer', 'p', 2, {a: 1}], {a: 1}
  ],
  'wait: changed since, it is kept': [
    ['event', 1, {a: 1}], ['save', 'p', {a: 2}, 'wait'], ['set', {a: 3}], ['answer', 'p', 2, {a: 2}], {a: 3}
  ],
  'wait: an edit from before is sent with it': [
    ['event', 1, {a: 1, n: 1}], ['set', {a: 2}], ['save', 'p', {n: 2}, 'wait'], ['asks', 'f'], ['fetched', 'f', 1, {a: 1, n: 1}],
    {a: 2, n: 1}, ['answer', 'p', 2, {a: 2, n: 2}], {a: 2, n: 2}, ['event', 3, {a: 3, n: 3}], {a: 3, n: 3}
  ],
  'wait: what another save changes is held back for that one alone': [
    ['event', 1, {a: 1}], ['save', 'p', {a: 2}], ['save', 'q', {a: 3}, 'wait'], ['event', 2, {a: 9}], {a: 2},
    ['answer', 'p', 3, {a: 2}], ['event', 4, {a: 4}], {a: 4}, ['answer', 'q', 5, {a: 3}], {a: 3}
  ],
  'wait: an answer that is not whole': [
    ['event', 1, {a: 1, b: 1}], ['save', 'p', {a: 2}, 'wait'], ['answer', 'p', 2, {b: 1}, false], {a: 2, b: 1}
  ],
  'an answer that does not tell: the server has what was saved': [
    ['event', 1, {a: 1}], ['save', 'p', {a: 2}], ['part', 2, {a: 9}], ['answer', 'p', 3, {}, false], {a: 2},
    ['set', {a: 1}], ['part', 4, {a: 4}], {a: 1}
  ],
  'a model of the page\'s own': [
    ['set', {a: 1, b: 1}], ['save', 'p'], ['answer', 'p', 1, {a: 1, b: 1, c: 1}], ['event', 2, {c: 2}], {c: 2}
  ],
};

// A save's answer that was lost and comes again, after its change and a newer one.
for (const how of ['', 'wait', 'patch', 'patch wait']) for (const had of [{}, {n: 1}]) {
  const name = `${how || 'a save'}, ${'n' in had ? 'had' : 'new'}: `;
  cases[name + 'answered late, what is gone again stays away'] = [
    ['event', 1, {by: 1, ...had}], ['save', 'p', {by: 'me', n: 13}, how], ['event', 2, {by: 'me', n: 13}], ['event', 3, {by: 3}],
    ['answer', 'p', 2, {by: 'me', n: 13}], {by: 3}, ['event', 4, {by: 4, n: 4}], {by: 4, n: 4}
  ];
  cases[name + 'the same where its change was not heard'] = [
    ['event', 1, {by: 1, ...had}], ['save', 'p', {by: 'me', n: 13}, how], ['event', 3, {by: 3}],
    ['answer', 'p', 2, {by: 'me', n: 13}], {by: 3}, ['event', 4, {by: 4, n: 4}], {by: 4, n: 4}
  ];
  cases[name + 'answered late, what changed again stays'] = [
    ['event', 1, {by: 1, ...had}], ['save', 'p', {by: 'me', n: 13}, how], ['event', 3, {by: 3, n: 14}],
    ['answer', 'p', 2, {by: 'me', n: 13}], {by: 3, n: 14}
  ];
  // Revs are those of rows: which attribute is how old is not known.
  if (!('n' in had)) cases[name + 'answered late, what no newer row told of is news'] = [
    ['event', 1, {by: 1}], ['save', 'p', {by: 'me', n: 13}, how], ['part', 3, {by: 3}],
    ['answer', 'p', 2, {by: 'me', n: 13}], {by: 3, n: 13}
  ];
  cases[name + 'its answer is lost, and the change comes as an event'] = [
    ['event', 1, {by: 1, ...had}], ['save', 'p', {by: 'me', n: 13}, how], ['refused', 'p'],
    ['event', 2, {by: 'me', n: 13}], {by: 'me', n: 13}, ['event', 3, {by: 3}], {by: 3}
  ];
}

for (const [name, script] of Object.entries(cases)) test(name, () => {
  for (const step of script) {
    if (Array.isArray(step)) steps[step[0]](...step.slice(1));
    else assert.deepEqual({...shown}, step);
  }
});

test('nothing is left of what is over', () => {
  event(1, {a: 1});
  save('p', {a: 2});
  event(2, {a: 3});
  save('q', {b: 1}, 'patch');
  assert.ok(shadow.isEdited());
  answer('p', 3, {a: 2});
  refused('q');
  assert.equal(shadow.isEdited(), false);
  assert.equal(shadow.own, null);
});
