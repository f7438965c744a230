"""disconnect_user: throw somebody out, whatever pages they have open."""

from __future__ import annotations

import logging
import weakref
from functools import partial

from .application import Application
from .journal import Journal
from .model import Change, Draft

logger = logging.getLogger("backboneio.users")

#: What other processes are told by, in a journal that they share; no client is told.
_METHOD = "disconnect user"
#: Comes back with what this process has told.
_OWN = object()

#: Those of this process, for as long as somebody serves them.
_applications: weakref.WeakSet[Application] = weakref.WeakSet()


def served_on(application: Application) -> None:
    """Remember an application whose users :func:`disconnect_user` is to find."""
    _applications.add(application)


def reaches(application: Application, journal: Journal) -> None:
    """Disconnect here, too, whom another process that has this journal throws out."""
    if getattr(journal, "is_shared", False) and journal not in application.shared:
        application.shared.append(journal)
        journal.follow(partial(_heard, weakref.ref(application)))


def _heard(reference: weakref.ref[Application], change: Change, token: object) -> None:
    application = reference()
    if change.method == _METHOD and token is not _OWN and application is not None:
        _disconnect(application, change.model)


def _disconnect(application: Application, user_id: str) -> set[str]:
    """Disconnect the clients of a user in this process; return their addresses."""
    addresses = set()
    for connections in application.connections:
        for address, environ in list(connections.environs.items()):
            if application.user_id(environ) == user_id:
                addresses.add(address)
                connections.throw_out(address)
    for backend in application.served:
        for address, socket in list(backend.sockets.items()):  # those of tests have no server
            if application.user_id(socket.environ) == user_id:
                addresses.add(address)
                socket.disconnect()
    return addresses


def disconnect_user(user_id: object) -> int:
    """Close the connections of all pages that somebody has open; return how many there were.

    Those are closed, too, that no backend has let in yet, of a page that is just being loaded.

    For users of Flask-Login and of Django. Whose page it is, is known from the cookies that it
    connected with: the user that its session, or Flask-Login's "remember me", named when a layer
    first asked for it. Logging out in the meantime changes nothing about that.

    The pages connect again by themselves, with the cookies that they have then, and the layers for
    ``listen`` decide anew. So let what these look at change first: end the session, mark the user
    as banned, and call this afterwards.

    Within a context of a Flask application, the clients are those of that application, else those
    of all in this process. Processes that share the journal of a backend, as with ``SQLJournal``,
    disconnect theirs a moment later; others have to be told by calling it there as well.

    :param user_id: what Flask-Login's ``get_id()`` returns, Django's ``user.pk``.
    :returns: how many pages there were in this process.
    :raises Unavailable: when the journal is away, so that other processes are not reached.
    """
    applications = list(_applications)
    if not any(application.served for application in applications):
        logger.warning(
            "disconnect_user(%r) in a process that serves no backends: those that do have clients "
            "of their own, call it in them",
            user_id,
        )
    wanted = str(user_id)
    addresses: set[str] = set()
    chosen = [one for one in applications if one.is_current()] or applications
    for application in chosen:
        addresses |= _disconnect(application, wanted)
    # One that an application shares is enough: the others of its processes follow all of these.
    for journal in {id(one.shared[0]): one.shared[0] for one in chosen if one.shared}.values():
        journal.append(Draft.of(_METHOD, wanted, channels=()), _OWN)
    return len(addresses)
