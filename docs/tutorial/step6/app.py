"""A task list that is live, made by a factory."""

import os

import click
from flask import Flask, abort, flash, redirect, render_template, request
from flask_login import LoginManager, current_user, login_user, logout_user
from werkzeug.security import check_password_hash, generate_password_hash

import backboneio

from live import LISTS, live
from models import User, db


def create_app(config=None):
    app = Flask(__name__)
    app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY", "only while developing")
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"  # other sites' forms come without the session
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///tasks.db"
    app.config.update(config or {})
    db.init_app(app)
    LoginManager(app).user_loader(lambda user_id: db.session.get(User, int(user_id)))
    live.init_app(app)
    with app.app_context():
        db.create_all()
    add_views(app)
    app.cli.add_command(create_user)
    return app


def add_views(app):
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


@click.command("create-user")
@click.argument("name")
@click.password_option()
def create_user(name, password):
    """Let somebody log in."""
    db.session.add(User(name=name, password=generate_password_hash(password)))
    db.session.commit()
