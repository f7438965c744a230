"""disconnect_user: throw somebody out, whatever pages they have open."""

from __future__ import annotations

import logging
import weakref

from .application import Application

logger = logging.getLogger("backboneio.users")

#: Those of this process, for as long as somebody serves them.
_applications: weakref.WeakSet[Application] = weakref.WeakSet()


def served_on(application: Application) -> None:
    """Remember an application whose users :func:`disconnect_user` is to find."""
    _applications.add(application)


def disconnect_user(user_id: object) -> int:
    """Close the connections of all pages that somebody has open; return how many there were.

    For users of Flask-Login and of Django. Whose page it is, is known from the cookies that it
    connected with: the user that its session, or Flask-Login's "remember me", named when a layer
    first asked for it. Logging out in the meantime changes nothing about that.

    The pages connect again by themselves, with the cookies that they have then, and the layers for
    ``listen`` decide anew. So let what these look at change first: end the session, mark the user
    as banned, and call this afterwards.

    Within a context of a Flask application, the clients are those of that application, else those
    of all in this process. Other processes have clients of their own: call it there as well.

    :param user_id: what Flask-Login's ``get_id()`` returns, Django's ``user.pk``.
    """
    applications = list(_applications)
    if not any(application.served for application in applications):
        logger.warning(
            "disconnect_user(%r) in a process that serves no backends: those that do have clients "
            "of their own, call it in them",
            user_id,
        )
    wanted = str(user_id)
    addresses = set()
    for application in [one for one in applications if one.is_current()] or applications:
        for backend in application.served:
            for address, socket in list(backend.sockets.items()):
                if application.user_id(socket.environ) == wanted:
                    addresses.add(address)
                    socket.disconnect()
    return len(addresses)
