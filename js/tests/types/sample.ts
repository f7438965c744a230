// A page in TypeScript; it has to compile, and the marked lines must not.
import Backbone from 'backbone';
import io from '../../backbone.io';

interface Row { id?: number; text: string }

class Message extends Backbone.Model<Row> {
  backend = 'messages';
}

class Messages extends Backbone.Collection<Message> {
  backend: io.Backend = { name: 'messages', channel: 'lobby' };
  model = Message;

  initialize() { this.bindBackend(); }
}

class Rooms extends Backbone.Collection {
  get backend(): io.Backend { return { name: 'rooms', channel: 7 }; }
}

const socket = Backbone.io.connect('https://example.org', { requestTimeout: 5000, auth: { token: 'x' } });
socket.on('connect', () => {});
Backbone.io({ path: '/live' }).disconnect();
Backbone.IO.timeout = 1000;
const version: string = io.VERSION;

const messages = new Messages();
messages.create({ text: 'hi' }, { wait: true, timeout: 100 });
messages.on('backend:create', (row: Row) => row.text);
messages.on('error', (model: Message, failure: io.Failure) => {
  const name: string = failure.error.name;
  const problems: string[] | undefined = failure.error.fields?.['text'];
  return [name, problems];
});
messages.unbindBackend().length;
new Message({ text: 'x' }).bindBackend().save({ text: 'y' }, { patch: true });
const channel = messages.backend as io.Channel;
const connected: boolean = channel.connected;
const prefix: string = (new Backbone.Collection([], { backend: 'messages' }).backend as io.Channel).event;
const where: io.Backend = () => ({ name: 'messages' });
const kept: io.Backend | undefined = new Backbone.Model({}, { backend: where }).backend;
channel.socket?.on('connect', () => prefix);
messages.on('change', (model: Message, options: io.Synced) => options.synced);

const rev: number | null = Backbone.io.inspect(new Messages().add({})).rev;
const waiting: number = Backbone.io.inspect().backends[0].queue.length;
const followed: Messages = Backbone.io.follow(new Messages(), 'messages', { transform: (row) => ({ message: row }) });
new Backbone.Collection([], { backend: { name: 'messages', sync: false } });

// @ts-expect-error: a timeout is a number
Backbone.io.timeout = 'soon';
// @ts-expect-error: a channel has a name
const wrong: io.Backend = { name: 'messages', channel: {} };

// @ts-expect-error: a backend has a name
new Backbone.Model({}, { backend: { channel: 'lobby' } });

export { Rooms, followed, kept, version, connected, wrong };
