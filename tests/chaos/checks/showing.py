"""What is shown: rows that were read, collections, and what a page has changed itself."""

from __future__ import annotations

from ..history import Line
from .known import Client
from .learning import Learning


class Showing(Learning):
    """Looks for what is old, mixed up, or not what the page itself has made of it."""

    def check_id(self, client: Client, line: Line, model_id: str) -> None:
        """Look for an id, or a change, that somebody takes for another model's."""
        if model_id not in self.ids:
            self.fail("identity", line, f"{client.name} has a model {model_id}, which never was")
            return
        commits = self.write(line["by"]).commits if line["by"] else []
        if self.journal and not commits and line["by"] and line["by"] not in client.invoked:
            self.fail("undone", line, f"{client.name} has {line['by']}, which was never committed")
        if commits and commits[0]["id"] != model_id:
            self.fail(
                "identity",
                line,
                f"{client.name} has {line['by']} as a version of model {model_id}; "
                f"it was one of model {commits[0]['id']}",
            )

    def check_rows(self, client: Client, line: Line) -> None:
        """Look for a model that the rows show as it was before their rev."""
        invoked = self.invoked.get(line["token"])
        if invoked is None or not line["whole"]:
            return
        rows = dict(map(tuple, line["rows"]))
        for (channel, model_id), writes in self.changes.items():
            if channel != invoked["channel"]:
                continue
            due = [write for write in writes if 0 < write.rev <= line["rev"]]
            if not due:
                continue
            last = due[-1]
            later = writes[writes.index(last) :]
            right = {write.token for write in later}
            may_lack = any(write.commits[0]["method"] == "delete" for write in later)
            if model_id in rows and rows[model_id] not in right:
                shows = f"model {model_id} by {rows[model_id]}"
            elif model_id not in rows and not may_lack:
                shows = f"no model {model_id}"
            else:
                continue
            self.fail(
                "stale-read",
                line,
                f"{line['token']} shows {shows} as of rev {line['rev']}; "
                f"rev {last.rev} was {last.token}",
            )

    def settle_refused(self, client: Client, line: Line) -> None:
        """A list has come: from here on nothing shows what was refused before it was asked for."""
        invoked, asked = self.invoked.get(line["token"]), client.asked_at.get(line["token"])
        if invoked is None or asked is None or not line["whole"]:
            return
        for (channel, _), tokens in client.writing.items():
            if channel == invoked["channel"]:
                tokens -= {token for token in tokens if client.refused.get(token, asked) < asked}

    def on_edit(self, line: Line) -> None:
        client = self.client(line["c"])
        edits = client.edits[line["channel"], line["id"], line["name"]]
        edits.append((line["token"], line["value"]))

    def on_view(self, line: Line) -> None:
        client, by = self.client(line["c"]), line["by"]
        if line["id"] is not None:
            self.check_id(client, line, line["id"])
            self.check_edits(client, line)
            self.check_whole(client, line)
        write = self.writes.get(by) if by is not None else None
        if write is None or not write.rev:
            return  # set in advance and then refused, or told to nobody
        if by in client.invoked:
            # Set in advance; or made in advance, and given its id on its way out.
            if by not in client.answered or client.invoked[by]["method"] == "create":
                return
        known = client.known.get((line["channel"], line["id"]), 0)
        if write.rev < known:
            self.fail(
                "old-over-new",
                line,
                f"{client.name} on channel {line['channel']} shows model {line['id']} by {by} "
                f"(rev {write.rev}), and knew rev {known} ({self.meaning[known][1]})",
            )

    def check_edits(self, client: Client, line: Line) -> None:
        """Look for an attribute that is not what the page itself has made of it last."""
        for (channel, model_id, name), edits in client.edits.items():
            if (channel, model_id) != (line["channel"], line["id"]) or not edits:
                continue
            token, value = edits[-1]
            if line["by"] is None:
                edits.clear()  # the model is gone
            elif line["model"].get(name) != value:
                self.fail(
                    "own-edit",
                    line,
                    f"{client.name} on channel {channel} shows {name} of model {model_id} as "
                    f"{line['model'].get(name)!r}; it had set {value!r} itself ({token}), "
                    f"and has no answer yet",
                )

    def check_whole(self, client: Client, line: Line) -> None:
        """Look for attributes that the version shown had not, or had otherwise."""
        commits = self.write(line["by"]).commits if line["by"] else []
        if not commits or client.writing[line["channel"], line["id"]]:
            return
        shown, right = line["model"], commits[0]["model"]
        for name in sorted({*shown, *right}):
            if shown.get(name, "nothing") != right.get(name, "nothing"):
                self.fail(
                    "whole",
                    line,
                    f"{client.name} on channel {line['channel']} shows attribute {name} of model "
                    f"{line['id']} as {shown.get(name, 'nothing')!r}; in {line['by']} it is "
                    f"{right.get(name, 'nothing')!r}",
                )
                return

    def on_final(self, line: Line) -> None:
        self.finals.add((line["c"], line["channel"]))
        store = self.stores.get(line["channel"])
        if store is None:
            return
        shown, models = line["models"], store["models"]
        for model_id in [*models, *(key for key in shown if key not in models)]:
            if shown.get(model_id) != models.get(model_id):
                known = self.client(line["c"]).known.get((line["channel"], model_id))
                self.fail(
                    "converged",
                    line,
                    f"{line['c']} on channel {line['channel']} ends with model {model_id} as "
                    f"{shown.get(model_id)}, the store with {models.get(model_id)}; "
                    f"the last rev it was told of the model is {known}",
                )
