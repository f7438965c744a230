"""The chaos suite: what is guaranteed, tried under faults, and a history that is checked.

A run is several processes. The server (``app.py``) is a Flask application behind a real WSGI
server. Twenty clients, most of them the reference client in Python (``client.py``), the others the
JavaScript client in Node (``client.js``), reach it through a TCP proxy (``proxy.py``) that cuts,
tears, stalls and slows their connections. Everybody writes down what he does and sees as JSON lines
(``history.py``). When all is calm again the checker (``checker.py``) reads the lot and names the
first step that broke a guarantee.

With the journal in a database (``sql_app.py``, ``sql_run.py``) the server has three workers, any of
which is killed at any moment, and so is the database; another process (``sql_writer.py``), which is
killed as well, writes beside the sockets. What was committed is what the database's own triggers
say.

The seed decides every client's requests (those in JavaScript pick among the models that they show),
the server's delays and errors, and the faults. It does not decide how threads interleave, so a seed
makes a failure likely to come again, not certain.

    python -m tests.chaos --seed 7            # one run
    python -m tests.chaos --minutes 5         # runs with random seeds
    python -m tests.chaos --journal sqlite    # or postgresql: several workers on a database
    python -m tests.chaos --journal awkward   # a journal that delivers late, among others' changes
    python -m tests.chaos.checker DIRECTORY   # check a recorded history again
"""
