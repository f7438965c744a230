"""What is kept: users and their tasks."""

from flask_login import UserMixin, current_user
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column, validates

import backboneio

db = SQLAlchemy()


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
