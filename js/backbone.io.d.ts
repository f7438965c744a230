// Types of backbone.io.js. They add to those of Backbone (@types/backbone) and of the
// Socket.IO client.

import 'backbone';
import type { ManagerOptions, Socket, SocketOptions } from 'socket.io-client';

declare namespace BackboneIO {
  /**
   * Where models are kept, as it is given: the name of a backend, a channel of it, or a function
   * that returns either; and what is in its place from then on, a `Channel`.
   */
  type Backend = string | Place | (() => string | Place) | Channel;

  interface Place {
    name: string;
    channel?: string | number | null | undefined;
    /** False leaves reading and writing to REST (`url`) and only follows. */
    sync?: boolean | undefined;
    /** Makes of a row as the backend has it what the REST views send, and `parse` expects. */
    transform?: ((row: any) => any) | undefined;
  }

  /**
   * A channel as this page hears it: what `collection.backend` holds once it is resolved, which
   * it is when `initialize` runs: `(messages.backend as BackboneIO.Channel).connected`.
   */
  interface Channel {
    readonly name: string;
    readonly channel: string | null;
    /** Whether changes come in at present. */
    readonly connected: boolean;
    /** The prefix of the events, as the server set it; "backend" unless changed. */
    readonly event: string;
    /** Socket.IO's socket of the backend's namespace; null before `connect`. */
    readonly socket: Socket | null;
  }

  /** The options of handlers whose change came from the server: `options.synced`. */
  interface Synced {
    synced?: boolean | undefined;
  }

  interface ConnectOptions extends Partial<ManagerOptions & SocketOptions> {
    /** Milliseconds until a request without an answer fails; 0 (the default) waits for ever. */
    requestTimeout?: number | undefined;
  }

  /** What `error` callbacks, `error` events and rejected promises are given. */
  interface Failure {
    error: {
      /**
       * BadRequest, Unauthorized, Forbidden, NotFound, Conflict, Invalid, TooLarge, Timeout,
       * Unavailable, InternalError, or a name of the application's own.
       */
      name: string;
      message: string;
      /** Of `Invalid`: messages by field. */
      fields?: { [field: string]: string[] } | undefined;
      /** Of `Timeout` and `Unavailable`: whether the change may have been made nevertheless. */
      sent?: boolean | undefined;
      [attribute: string]: unknown;
    };
  }

  /** What `inspect` tells of a request. */
  interface Inspected {
    id: string;
    method: string;
    channel: string | null;
    /** The model's id. */
    model: unknown;
    /** Whether it was sent at least once. */
    sent: boolean;
  }

  /** Something that the page was told: a change, an answer, or that a request has failed. */
  interface Step {
    at: Date;
    backend: string;
    channel: string | null;
    how: 'event' | 'answer' | 'refusal';
    method: string;
    /** The model's id; undefined for a list. */
    model: unknown;
    rev: number | null | undefined;
    /** The name of the error. */
    error?: string | undefined;
  }

  interface Overview {
    connected: boolean;
    backends: {
      name: string;
      connected: boolean;
      /** Requests that are not sent yet, and those that wait for their answers. */
      queue: Inspected[];
      flying: Inspected[];
      channels: {
        channel: string | null;
        state: 'idle' | 'listening' | 'ready' | 'refused' | 'left';
        epoch: string | null;
        rev: number;
        /** Collections, and models that stand alone. */
        objects: number;
        /** How many of them wait for a moment of their own to be fetched anew. */
        stale: number;
        /** By id, the rev that was last said of a model. */
        revs: { [id: string]: number };
      }[];
    }[];
    /** The last 200, the newest last. */
    last: Step[];
  }

  interface Reasons {
    id: unknown;
    cid: string;
    backend: string | null;
    channel: string | null;
    rev: number | null;
    /** The attributes as the server said last; null before it said anything. */
    said: { [attribute: string]: unknown } | null;
    /** Attributes that the page has changed and the server has not answered. */
    unsaved: string[];
    /** What the page was told of this id, the newest last. */
    changes: Step[];
  }

  /** A collection or a model. */
  interface Followed {
    bindBackend(): unknown;
  }

  interface IO {
    /** The same as `connect`. */
    (url: string, options?: ConnectOptions): Socket;
    (options?: ConnectOptions): Socket;
    /** Connects; the arguments are those of Socket.IO's `io(url, options)`. */
    connect(url: string, options?: ConnectOptions): Socket;
    connect(options?: ConnectOptions): Socket;
    /** Milliseconds until a request without an answer fails, for every connection. */
    timeout: number;
    /**
     * Lets a collection or model follow a backend that reads and writes by REST with a `sync` or
     * `fetch` of its own; it is bound.
     */
    follow<T extends Followed>(
      object: T,
      backend: string | Place,
      options?: { transform?: ((row: any) => any) | undefined }
    ): T;
    /** For the console: what is under way; or why a model is what it is. */
    inspect(): Overview;
    inspect(model: object): Reasons;
    readonly VERSION: string;
  }
}

declare module 'backbone' {
  const io: BackboneIO.IO;
  const IO: BackboneIO.IO;

  interface ModelBase {
    /** Where it is kept: as it was given, and from `initialize` on a `BackboneIO.Channel`. */
    backend?: BackboneIO.Backend | undefined;
    /**
     * Applies what happens on the backend: a collection adds, updates and removes models, a
     * model follows its own id.
     */
    bindBackend(): this;
    /** Hears nothing more of the backend. */
    unbindBackend(): this;
  }

  interface ModelConstructorOptions<TModel extends Model = Model> {
    /** Where this model is kept, in place of what its class says. */
    backend?: BackboneIO.Backend | undefined;
  }

  interface PersistenceOptions {
    /** Milliseconds until the request fails when there is no answer. */
    timeout?: number | undefined;
  }
}

declare const BackboneIO: BackboneIO.IO;
export = BackboneIO;
