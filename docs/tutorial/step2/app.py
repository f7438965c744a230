"""A task list that is live, with rules."""

from flask import Flask, render_template

import backboneio

app = Flask(__name__)
live = backboneio.Backbone(app)

tasks = live.backend("tasks")


@tasks.use("create", "update", "patch")
def validate(req, res, next):
    sent = req.model
    task = {key: sent[key] for key in ("id", "title", "done") if key in sent}
    if req.method == "create":
        task = {"title": "", "done": False, **task}
    if "title" in task:
        task["title"] = str(task["title"]).strip()
        if not 1 <= len(task["title"]) <= 100:
            raise backboneio.Invalid(fields={"title": "needs 1 to 100 characters"})
    if "done" in task and not isinstance(task["done"], bool):
        raise backboneio.Invalid(fields={"done": "is true or false"})
    req.model = task
    next()


tasks.use(backboneio.middleware.memory_store(max_models=1000))


@app.get("/")
def index():
    return render_template("index.html")
