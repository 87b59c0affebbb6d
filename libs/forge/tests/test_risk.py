"""Which diffs are risky."""

import msgspec
import pytest
from factory_forge import risk
from factory_forge.diff import Diff, FileChange, Hunk, Line


def change(path: str, *added: str, old_path: str = "", status: str = "M", removed: int = 0) -> FileChange:
    lines = [Line("+", text, None, i) for i, text in enumerate("\n".join(added).split("\n"), start=1)] if added else []
    return FileChange(
        path=path,
        old_path=old_path or path,
        status=status,  # type: ignore[arg-type]
        old_mode="100644",
        new_mode="100644",
        added=len(lines),
        removed=removed,
        hunks=[Hunk(1, 1, lines)] if lines else [],
    )


def diff(*files: FileChange) -> Diff:
    return Diff(base="a" * 40, head="b" * 40, files=list(files), patch="")


def kinds(*files: FileChange) -> list[str]:
    return [r.kind for r in risk.assess(diff(*files))]


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("workflow", ".github/workflows/ci.yml"),
        ("workflow", ".github/actions/setup/action.yml"),
        ("workflow", ".gitlab-ci.yml"),
        ("workflow", ".circleci/config.yml"),
        ("workflow", "azure-pipelines.yml"),
        ("workflow", "Jenkinsfile"),
        ("contract", "factory.yaml"),
        ("contract", "software-factory.yml"),
        ("contract", "factory.sh"),
        ("agents", "AGENTS.md"),
        ("agents", "packages/web/CLAUDE.md"),
        ("agents", ".claude/settings.json"),
        ("agents", ".mcp.json"),
        ("agents", ".cursorrules"),
        ("agents", ".github/copilot-instructions.md"),
        ("agents", ".vscode/tasks.json"),
        ("agents", ".devcontainer/devcontainer.json"),
        ("owners", ".github/CODEOWNERS"),
        ("owners", ".gitattributes"),
        ("owners", "vendor/.gitattributes"),
        ("owners", ".gitmodules"),
        ("deploy", "Dockerfile"),
        ("deploy", "api/Dockerfile.prod"),
        ("deploy", "api.dockerfile"),
        ("deploy", "docker-compose.yml"),
        ("deploy", "compose.override.yaml"),
        ("deploy", "infra/main.tf"),
        ("deploy", "charts/helm/values.yaml"),
        ("deploy", "deploy/run.sh"),
        ("deploy", "Procfile"),
        ("deploy", "fly.toml"),
        ("billing", "app/billing/plan.py"),
        ("billing", "src/StripeClient.ts"),
    ],
)
def test_risky_paths(kind: str, path: str) -> None:
    """A file of this kind is named, stops at the gate, and is no low risk."""
    files = diff(change(path, "x"))
    risks = risk.assess(files)
    assert [r.kind for r in risks] == [kind]
    assert risk.gated(risks) == risks
    assert risk.level(files, risks) in {"medium", "high"}


@pytest.mark.parametrize(
    "path",
    [
        "src/app.py",
        "README.md",
        "src/factory.py",
        "docs/agents.txt",
        "src/composer.py",
        "src/workflows/list.py",
        "src/dockerfile_parser.py",
        "notes.transform.tfx",
        ".github/ISSUE_TEMPLATE.md",
        "src/redeploy.py",
        "src/claude.md.py",
    ],
)
def test_ordinary_paths(path: str) -> None:
    """A name that only looks like it is no risk."""
    assert kinds(change(path, "x")) == []


def test_renamed_and_deleted() -> None:
    """A risky file that is renamed away or deleted is as risky as one that is changed."""
    assert kinds(change("old/ci.txt", old_path=".github/workflows/ci.yml", status="R")) == ["workflow"]
    assert kinds(change(".github/CODEOWNERS", status="D", removed=3)) == ["owners"]


ALEMBIC = """\
def upgrade():
    {up}


def downgrade():
    {down}
"""


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("migrations/2.sql", "DROP TABLE users;"),
        ("migrations/2.sql", "drop  column age"),
        ("migrations/2.sql", "ALTER TABLE users\n  DROP age;"),
        ("db/x.sql", "TRUNCATE users;"),
        ("db/x.sql", 'DELETE FROM public."users";'),
        ("db/x.sql", "DELETE FROM users"),
        ("app/migrations/0002_x.py", "migrations.RemoveField(model_name='user', name='age')"),
        ("app/migrations/0002_x.py", "migrations.DeleteModel(name='User')"),
        ("app/migrations/0002_x.py", 'migrations.RunSQL("DROP TABLE users")'),
        ("alembic/versions/1_x.py", ALEMBIC.format(up="op.drop_column('users', 'age')", down="pass")),
        ("db/migrate/1_x.rb", "def change\n  remove_column :users, :age\nend"),
        ("migrations/1.js", "exports.up = (knex) => knex.schema.dropTable('users')\nexports.down = () => {}"),
        ("Migrations/1.cs", 'migrationBuilder.DropColumn(name: "Age")'),
        ("database/migrations/1.php", "Schema::dropIfExists('users');"),
    ],
)
def test_migrations_that_drop_data(path: str, text: str) -> None:
    """In SQL and in the words of the usual tools; the change is of high risk."""
    files = diff(change(path, text, status="A"))
    risks = risk.assess(files)
    assert [r.kind for r in risks] == ["destructive_migration"]
    assert risk.gated(risks) == risks
    assert risk.level(files, risks) == "high"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("migrations/2.sql", "CREATE TABLE users (id int);"),
        ("migrations/2.sql", "ALTER TABLE users ALTER COLUMN age DROP NOT NULL;"),
        ("migrations/2.sql", "ALTER TABLE users DROP CONSTRAINT users_age;"),
        ("migrations/2.sql", "DELETE FROM sessions WHERE expired;"),
        ("migrations/2.sql", "CREATE TABLE t (id int);\n-- +goose Down\nDROP TABLE t;"),
        ("alembic/versions/1_x.py", ALEMBIC.format(up="op.create_table('users')", down="op.drop_table('users')")),
        ("migrations/1.js", "exports.up = k => k.createTable('u')\nexports.down = k => k.dropTable('u')"),
        ("src/app.py", "DROP TABLE users;"),
        ("README.md", "drop table"),
    ],
)
def test_migrations_that_keep_data(path: str, text: str) -> None:
    """What adds, what drops no data, and the way back of a migration are none."""
    assert "destructive_migration" not in kinds(change(path, text, status="A"))


def test_what_is_removed_does_not_count() -> None:
    """A migration that no longer drops is none that drops."""
    gone = Hunk(1, 1, [Line("-", "DROP TABLE users;", 1, None)])
    assert kinds(msgspec.structs.replace(change("migrations/2.sql"), removed=1, hunks=[gone])) == []


@pytest.mark.parametrize(
    ("files", "level"),
    [
        ([change("src/app.py", "x")], "low"),
        ([change("src/app.py", *["x"] * (risk.BIG + 1))], "medium"),
        ([change("db/schema.sql", "CREATE TABLE t (id int);")], "medium"),
        ([change("AGENTS.md", "x")], "medium"),
        ([change("factory.yaml", "x")], "medium"),
        ([change(".github/workflows/ci.yml", "x")], "high"),
        ([change("src/app.py", "x"), change("deploy/x", "x")], "high"),
    ],
)
def test_level(files: list[FileChange], level: str) -> None:
    """Low, unless it is big, touches a schema, or something named is risky."""
    assert risk.level(diff(*files), risk.assess(diff(*files))) == level


def test_nothing_changed() -> None:
    """An empty diff has no risk."""
    assert risk.assess(diff()) == []
    assert risk.level(diff(), []) == "low"


@pytest.mark.parametrize(
    "text", ["ALTER TABLE " * 20_000, "DELETE FROM " * 20_000, "down" + " " * 100_000, "a." * 100_000]
)
def test_hostile_text(text: str) -> None:
    """No text makes the rules slow: the time-out of a test is the bound."""
    assert kinds(change("migrations/2.sql", text)) == []
