// The same work on Feathers 5: a service in memory, published to channels over Socket.IO.
'use strict';

const http = require('node:http');
const { feathers } = require('@feathersjs/feathers');
const socketio = require('@feathersjs/socketio');
const { memory } = require('@feathersjs/memory');
const control = require('./control');

const app = feathers();
app.configure(
  socketio((io) => {
    io.use((socket, next) => {
      socket.feathers.channel = `channel-${socket.handshake.query.channel}`;
      next();
    });
  }),
);
app.use('messages', memory({ store: Object.fromEntries(control.models), startId: 11 }));
app.on('connection', (connection) => app.channel(connection.channel, 'all').join(connection));
app.service('messages').publish((data, context) =>
  app.channel(context.params?.connection?.channel ?? 'all'),
);

const server = http.createServer();
app.setup(server).then(() => {
  server.on('request', (request, response) => {
    if (request.url.startsWith('/socket.io/')) return;
    control.page(() => app.service('messages').emit('updated', control.models.get(1)))(request, response);
  });
  server.listen(Number(process.argv[2]), '127.0.0.1');
});
