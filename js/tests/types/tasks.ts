// The example of docs/howto/typescript.md.
import Backbone from 'backbone';
import io from 'backbone.io-client';

interface TaskRow {
  id?: number;
  title: string;
  done: boolean;
}

class Task extends Backbone.Model<TaskRow> {
  toggle() {
    return this.save({ done: !this.get('done') }, { patch: true, wait: true, timeout: 5000 });
  }
}

class Tasks extends Backbone.Collection<Task> {
  backend: io.Backend = 'tasks';
  model = Task;

  initialize() {
    this.bindBackend();
  }
}

const tasks = new Tasks([], { backend: { name: 'tasks', channel: 'home' } });
tasks.on('backend:create', (row: TaskRow) => row.title.toUpperCase());
tasks.on('change', (task: Task, options: io.Synced) => options.synced && task.get('title'));
tasks.on('error', (object: Task | Tasks, failure: io.Failure) => {
  const { name, message, fields } = failure.error;
  return name === 'Invalid' ? fields?.['title']?.join(' ') : message;
});

io.connect({ requestTimeout: 10_000, auth: { token: 'secret' } });
tasks.fetch({ reset: true, timeout: 5000, data: { page: 1 } });

// What `backend` says once it is resolved:
const { name, channel, connected } = tasks.backend as io.Channel;
document.title = `${name}/${channel ?? ''} ${connected ? 'live' : 'offline'}`;

// One that reads and writes by REST, and only follows:
class Notes extends Backbone.Collection {
  url = '/api/notes';
}
const notes = io.follow(new Notes(), 'notes', { transform: (row) => ({ note: row }) });
notes.fetch();
