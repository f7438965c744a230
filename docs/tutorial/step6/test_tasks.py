"""What the task list promises."""

import pytest
from werkzeug.security import generate_password_hash

import backboneio
from backboneio.testing import SyncClient

from app import create_app
from models import User, db


@pytest.fixture
def app(tmp_path):
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/tasks.db"})
    with app.app_context():
        db.session.add(User(name="ada", password=generate_password_hash("secret")))
        db.session.commit()
    return app


@pytest.fixture
def browser(app):
    browser = app.test_client()
    browser.post("/login", data={"name": "ada", "password": "secret"})
    return browser


def test_what_ada_adds_reaches_visitors_of_the_list(app, browser):
    ada = SyncClient(app, "tasks", "home", flask_test_client=browser)
    visitor = SyncClient(app, "tasks", "home")
    elsewhere = SyncClient(app, "tasks", "work")
    task = ada.create({"title": "buy milk"})
    assert task["author"] == "ada"
    assert visitor.received[-1].model == task
    assert elsewhere.received == []
    assert visitor.read() == [task]


def test_visitors_change_nothing(app):
    with pytest.raises(backboneio.Unauthorized):
        SyncClient(app, "tasks", "home").create({"title": "buy milk"})


def test_a_task_has_a_title(app, browser):
    ada = SyncClient(app, "tasks", "home", flask_test_client=browser)
    with pytest.raises(backboneio.Invalid) as raised:
        ada.create({"title": "  "})
    assert raised.value.fields == {"title": ["needs 1 to 100 characters"]}


def test_logging_out_ends_the_page(app, browser):
    page = SyncClient(app, "tasks", "home", flask_test_client=browser)
    page.create({"title": "buy milk"})
    browser.post("/logout").close()  # as the server does when it has sent the response
    assert not page.connected


def test_there_is_no_other_list(app):
    with pytest.raises(backboneio.NotFound):
        SyncClient(app, "tasks", "secret")
