"""A task list that is live, in a database."""

from flask import Flask, render_template
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column, validates

import backboneio

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///tasks.db"
db = SQLAlchemy(app)


class Task(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(100))
    done: Mapped[bool] = mapped_column(default=False)

    @validates("title")
    def has_text(self, name, title):
        if not title.strip():
            raise backboneio.Invalid(fields={"title": "needs 1 to 100 characters"})
        return title.strip()


live = backboneio.Backbone(app, journal=backboneio.SQLJournal(db))

tasks = live.backend("tasks")
tasks.use(backboneio.middleware.sqlalchemy_store(Task, db.session))

with app.app_context():
    db.create_all()


@app.get("/")
def index():
    return render_template("index.html")
