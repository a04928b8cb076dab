"""The tests on every supported pair of Python and Django: `nox`, or `nox --session "tests-3.11(django='5.2')"`."""

import nox

nox.options.default_venv_backend = "venv"

DJANGO_VERSIONS = {"5.2": "django~=5.2.0", "newest": "django>=6.0"}
PAIRS = [("3.11", "5.2"), ("3.12", "newest"), ("3.13", "newest")]


@nox.session
@nox.parametrize(("python", "django"), PAIRS)
def tests(session: nox.Session, django: str) -> None:
    # pip refuses dependency groups before 25.1.
    session.install("--upgrade", "pip>=25.1")
    session.install("--editable", ".[postgres,redis,testing]", "--group", "dev", DJANGO_VERSIONS[django])
    session.run("python", "manage.py", "makemigrations", "--check")
    session.run("python", "-m", "pytest", "-n", "auto", "--dist", "worksteal", *session.posargs)
