"""The backend of the tasks: who may do what, and where it is kept."""

from flask_login import current_user

import backboneio

from models import Task, db

LISTS = ("home", "work")

live = backboneio.Backbone(journal=backboneio.SQLJournal(db))

tasks = live.backend("tasks")


@tasks.use
def known_list(req, res, next):
    if req.channel not in LISTS:
        raise backboneio.NotFound("there is no such list")
    if req.method == "create":
        req.model["list"] = req.channel
    next()


@tasks.use("write")
def require_login(req, res, next):
    if not current_user.is_authenticated:
        raise backboneio.Unauthorized("log in to change tasks")
    next()


tasks.use(
    backboneio.middleware.sqlalchemy_store(
        Task, db.session, channel=Task.list, read_only=["author"]
    )
)
