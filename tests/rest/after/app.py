"""Tasks over REST."""

import os

import flask
from flask_sqlalchemy import SQLAlchemy

import backboneio

app = flask.Flask(__name__, static_folder=os.path.dirname(__file__))
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
db = SQLAlchemy(app)


class Task(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    title = db.Column(db.String(100), nullable=False)

    def as_json(self):
        return {"id": self.id, "title": self.title}


@app.get("/")
def index():
    return app.send_static_file("index.html")


@app.get("/tasks")
def read():
    return [task.as_json() for task in db.session.scalars(db.select(Task).order_by(Task.id))]


@app.post("/tasks")
def create():
    task = Task(title=flask.request.json["title"])
    db.session.add(task)
    db.session.commit()
    return task.as_json(), 201


@app.put("/tasks/<int:id>")
def update(id):
    task = db.get_or_404(Task, id)
    task.title = flask.request.json["title"]
    db.session.commit()
    return task.as_json()


tasks = backboneio.create_backend()
tasks.use(backboneio.middleware.follow_only)
tasks.use(backboneio.middleware.sqlalchemy_store(Task, db.session))
app.wsgi_app = backboneio.WSGIApp(app, {"tasks": tasks}, journal=backboneio.SQLJournal(db))
