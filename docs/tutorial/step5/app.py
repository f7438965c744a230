"""A task list that is live, in several lists."""

import os

import click
from flask import Flask, abort, flash, redirect, render_template, request
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column, validates
from werkzeug.security import check_password_hash, generate_password_hash

import backboneio

app = Flask(__name__)
app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY", "only while developing")
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"  # other sites' forms come without the session
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///tasks.db"
db = SQLAlchemy(app)
logins = LoginManager(app)

LISTS = ("home", "work")


class User(UserMixin, db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    password: Mapped[str] = mapped_column(String(200))


class Task(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(100))
    done: Mapped[bool] = mapped_column(default=False)
    author: Mapped[str] = mapped_column(String(50), default=lambda: current_user.name)
    list: Mapped[str] = mapped_column(String(50), index=True)

    @validates("title")
    def has_text(self, name, title):
        if not title.strip():
            raise backboneio.Invalid(fields={"title": "needs 1 to 100 characters"})
        return title.strip()


@logins.user_loader
def load_user(user_id):
    return db.session.get(User, int(user_id))


live = backboneio.Backbone(app, journal=backboneio.SQLJournal(db))

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

with app.app_context():
    db.create_all()


@app.get("/")
def index():
    return redirect("/lists/home")


@app.get("/lists/<name>")
def show(name):
    if name not in LISTS:
        abort(404)
    return render_template("index.html", name=name, lists=LISTS)


@app.post("/login")
def login():
    user = db.session.scalar(db.select(User).filter_by(name=request.form["name"]))
    if user and check_password_hash(user.password, request.form["password"]):
        login_user(user)
    else:
        flash("There is no such user, or the password is another one.")
    return redirect("/")


@app.post("/logout")
def logout():
    user_id = current_user.get_id()
    logout_user()
    response = redirect("/")
    response.call_on_close(lambda: backboneio.disconnect_user(user_id))
    return response


@app.cli.command("create-user")
@click.argument("name")
@click.password_option()
def create_user(name, password):
    """Let somebody log in."""
    db.session.add(User(name=name, password=generate_password_hash(password)))
    db.session.commit()
