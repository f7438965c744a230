// What the server said of one model, and what the page has made of it since. Pure: no Backbone,
// no sockets. Who calls it (attributes.js) shows what it answers.
//
// ### The state
//
// Of a model:
//
//  * `rev`, of the journal `epoch`: the newest that the server said of it; `whole`: the newest rev
//    of which it sent the whole row.
//  * `sent`: the attributes as the server said last, null before it said anything. What is not in
//    it the server has not, or has not told.
//  * `edits`: attributes that the page has changed (or taken away) itself, each with what it made
//    of it and the time at which it did so. Times are counted, see `now`.
//  * `saves`: requests that were made and not answered, each with `at`, the time at which it was
//    made, and `covers`, the attributes that it changes and what the page has made of them.
//  * `withheld`: attributes of which the server said something while the page claimed them.
//
// The page *claims* an attribute while it has a change of it that is not saved: an edit, or a save
// under way. What is shown of an attribute is
//
//  * what the page has set, while it claims it;
//  * else what was `sent`;
//  * else, where the server never had it, what the page has set: such attributes are the page's.
//
// ### What changes it
//
//  * *The page sets an attribute*: it claims it. An edit that is what the server has anyway, while
//    no save is under way, is none: the claim ends.
//  * *A save is made*: it covers what it sends of the page's changes.
//  * *An event* says its row, and ends no claim.
//  * *The answer to a fetch* says its row, and ends edits from before the page asked for it; also
//    where the row is old.
//  * *The answer to a save* says its row, and ends what the save covers: edits from before it, and
//    earlier saves of the same.
//  * *A save was refused, or timed out, or its answer is lost* (`Unavailable`): its claims end, and
//    what was withheld is shown. Where nothing was, the page stays as the user made it, until
//    the server says something.
//  * *Its answer comes later than that*: it is an event.
//  * *Its answer comes again*: nothing, since a request is settled once.
//
// *What is said* becomes `sent`: a row that is `whole` takes its place, another is laid over it. An
// attribute that was sent, or was in an answer to the page, and is missing in a whole row, goes
// away. What the page claims is not shown but withheld. A row that is older than `rev` says
// nothing of attributes that the server told of since; what is newest of it is shown. A model that
// was deleted and made anew is another one, with a shadow of its own; so are those that a fetch
// with `reset` makes. Another epoch is no reason to forget: only its revs cannot be compared.
import {extend, has} from './util.js';

var time = 0;

// A moment to compare changes with.
export function now() {
  return ++time;
}

export function Shadow() {
  this.epoch = this.sent = null;
  this.rev = this.whole = 0;
  this.own = null; // edits, saves, withheld; null while there are none
}

extend(Shadow.prototype, {
  // The rev said last, or null where it says nothing about this epoch.
  revOf: function(epoch) {
    return this.epoch === epoch && epoch !== null ? this.rev : null;
  },

  // What was said has this rev.
  stamp: function(epoch, rev, whole) {
    if (rev == null) return;
    if (this.epoch !== epoch) this.whole = 0;
    if (whole) this.whole = rev;
    this.epoch = epoch;
    this.rev = rev;
  },

  mine: function() {
    return this.own || (this.own = {edits: new Map(), saves: [], withheld: new Set()});
  },

  // Whether what the model shows is no more than what the server has said.
  agrees: function(name, shown) {
    var sent = this.sent || {};
    return has(sent, name) === has(shown, name) && (!has(sent, name) || same(shown[name], sent[name]));
  },

  // An answer of `rev`, older than what was said since, brought up to date: where nothing whole
  // was said, what it has and nothing newer had is news.
  latest: function(answer, rev) {
    return this.whole > rev ? extend({}, this.sent) : extend({}, answer, this.sent);
  },

  // The page has set `names`, or taken them away: `before` and `shown` are the attributes.
  edit: function(names, before, shown) {
    var edits = this.mine().edits;
    names.forEach(function(name) {
      if (has(before, name) === has(shown, name) && same(before[name], shown[name])) return;
      edits.set(name, {at: now(), there: has(shown, name), value: shown[name]});
    });
    this.tidy(shown);
  },

  // What the page has made of an attribute that it claims.
  claimed: function(name) {
    return this.own.edits.get(name) || this.own.saves.reduce(function(last, save) {
      return save.covers.get(name) || last;
    }, null);
  },

  // A save is made: it covers what the page has changed of what it sends, `attrs`. With `wait`
  // what it is to change is not shown before the answer: it covers only what was claimed before.
  begin: function(save, attrs, wait, patch, shown) {
    var shadow = this, own = this.mine(), names = new Set(Object.keys(attrs));
    var add = function(value, name) { names.add(name); };
    save.at = now();
    save.covers = new Map();
    // An attribute that was taken away is sent by being left out.
    if (!patch) {
      own.edits.forEach(add);
      own.saves.forEach(function(other) { other.covers.forEach(add); });
      Object.keys(this.sent || {}).forEach(function(name) { names.add(name); });
    }
    names.forEach(function(name) {
      var claim = shadow.claimed(name);
      if (wait) {
        if (!claim || claim.there !== has(attrs, name) || !same(claim.value, attrs[name])) return;
      } else {
        if (!claim && (!shadow.sent || shadow.agrees(name, shown))) return;
        claim = {there: has(shown, name), value: shown[name]};
      }
      save.covers.set(name, claim);
    });
    own.saves.push(save);
  },

  // Whether a save under way changes an attribute, other than `answered` and those before it.
  isSaving: function(name, answered) {
    return !!this.own && this.own.saves.some(function(save) {
      return save !== answered && save.covers.has(name) && !(answered && answered.at > save.at);
    });
  },

  // Whether what arrives may not be shown: the page has a newer change of the attribute.
  claims: function(name, arrival) {
    var own = this.own, edit = own && own.edits.get(name), save = arrival.save;
    if (!own) return false;
    if (this.isSaving(name, save)) return true;
    if (!edit) return false;
    return save ? edit.at > save.at || !save.covers.has(name) : edit.at > (arrival.since || 0);
  },

  isEdited: function() {
    return !!this.own && (this.own.edits.size > 0 || this.own.saves.some(function(save) {
      return save.covers.size > 0;
    }));
  },

  // The names of all that it claims.
  unsaved: function() {
    var own = this.own, names = new Set(), add = function(value, name) { names.add(name); };
    if (own) own.edits.forEach(add);
    if (own) own.saves.forEach(function(save) { save.covers.forEach(add); });
    return Array.from(names);
  },

  // The server says `row`. `arrival` is
  //
  //  * `whole`: the row has all attributes;
  //  * `since`: it answers a fetch of that time; `save`: it answers that save; neither: an event;
  //  * `answered`: the answer as it came, where `row` was brought up to date;
  //  * `asked`: what the page asked for with `wait`, and shows with the answer.
  //
  // Returns what to show, `{set, drop}`.
  say: function(row, arrival, shown) {
    var shadow = this, own = this.own, sent = this.sent || {}, answered = arrival.answered || {};
    var save = arrival.save, asked = arrival.asked || {}, whole = arrival.whole, show = {set: {}, drop: []};
    var known = function(name) {
      return has(sent, name) || has(answered, name) || !!own && own.withheld.has(name);
    };
    var names = new Set(Object.keys(extend({}, row, asked)));
    if (whole) {
      Object.keys(extend({}, sent, answered)).forEach(function(name) { names.add(name); });
      if (own) own.withheld.forEach(function(name) { names.add(name); });
      if (own) own.edits.forEach(function(edit, name) { names.add(name); });
    }
    names.forEach(function(name) {
      var gone = !has(row, name) && (whole && known(name) || has(answered, name));
      if (shadow.claims(name, arrival)) {
        if (has(row, name) || gone) own.withheld.add(name);
        return;
      }
      if (has(row, name)) show.set[name] = row[name];
      else if (!gone && has(asked, name)) show.set[name] = asked[name];
      else if (gone && has(shown, name)) show.drop.push(name);
      if (has(row, name) || whole) shadow.settle(name, save);
    });
    this.sent = whole || !this.sent ? row : extend({}, sent, row);
    this.tidy(shown);
    return show;
  },

  // A save is over. What the server said meanwhile of what it was to change is shown when it was
  // refused; when it was not, and its answer did not tell, the server has what the page shows.
  end: function(save, refused, shown) {
    var shadow = this, own = this.own, sent = extend({}, this.sent), show = {set: {}, drop: []};
    if (!own || own.saves.indexOf(save) < 0) return show;
    own.saves = own.saves.filter(function(other) { return other !== save; });
    save.covers.forEach(function(claim, name) {
      var edit = own.edits.get(name);
      if (edit && edit.at <= save.at) own.edits.delete(name);
      if (own.edits.has(name) || shadow.isSaving(name)) return;
      if (own.withheld.has(name) && refused) {
        if (has(sent, name)) show.set[name] = sent[name]; else show.drop.push(name);
      } else if (!refused && (has(sent, name) || own.withheld.has(name))) {
        if (has(shown, name)) sent[name] = shown[name]; else delete sent[name];
        shadow.sent = sent;
      }
      shadow.settle(name);
    });
    this.tidy(shown);
    return show;
  },

  // What the server said of this model it has said as of another one, which is the same.
  inherit: function(other) {
    if (!other.sent || this.sent) return;
    this.epoch = other.epoch;
    this.rev = other.rev;
    this.whole = other.whole;
    this.sent = other.sent;
  },

  // Takes over what the page has changed of another model, which is the same, and has not saved,
  // unless it has changed this one since. Returns what to show.
  inheritEdits: function(other) {
    var shadow = this, from = other.own, show = {set: {}, drop: []};
    if (from) from.edits.forEach(function(edit, name) {
      var covered = from.saves.some(function(save) { return save.at > edit.at && save.covers.has(name); });
      var mine = shadow.own && shadow.own.edits.get(name);
      if (covered || mine && mine.at > edit.at) return;
      shadow.mine().edits.set(name, edit);
      if (from.withheld.has(name)) shadow.own.withheld.add(name);
      if (edit.there) show.set[name] = edit.value; else show.drop.push(name);
    });
    return show;
  },

  // The page claims an attribute no more, nor do saves up to the one that was answered.
  settle: function(name, answered) {
    if (!this.own) return;
    this.own.edits.delete(name);
    this.own.withheld.delete(name);
    if (answered) {
      this.own.saves.forEach(function(save) { if (save.at <= answered.at) save.covers.delete(name); });
    }
  },

  // An edit that is what the server has, while no save may change that, is none.
  tidy: function(shown) {
    var shadow = this, own = this.own;
    if (!own || own.saves.length) return;
    own.edits.forEach(function(edit, name) { if (shadow.agrees(name, shown)) shadow.settle(name); });
    if (!own.edits.size) this.own = null;
  }
});

export function same(one, other) {
  if (one === other || one !== one && other !== other) return true;
  if (!one || !other || typeof one !== 'object' || typeof other !== 'object') return false;
  try { return JSON.stringify(one) === JSON.stringify(other); } catch (cycle) { return false; }
}
