"""A task list that is live."""

from flask import Flask, render_template

import backboneio

app = Flask(__name__)
live = backboneio.Backbone(app)

tasks = live.backend("tasks")
tasks.use(backboneio.middleware.memory_store())


@app.get("/")
def index():
    return render_template("index.html")
