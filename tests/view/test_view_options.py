import click
import pytest
from click.testing import CliRunner

from dripstone.core.errors import UsageError
from dripstone.view.options import format_option, open_learner, open_store, parse_arguments, set_option

pytest_plugins = ["view_fixtures"]


@click.command()
@set_option
@format_option
@click.option("--arg", "arguments", multiple=True, callback=parse_arguments)
def command(settings, format, arguments):
    click.echo(repr((settings, format, arguments)))


def call(*arguments):
    return CliRunner().invoke(command, arguments)


def test_pairs_are_parsed():
    found = call(
        "--set", "train.stop.epochs=3", "--set", "task.target=a=b", "--arg", "inputs=2", "--arg", "encoder=some/dir"
    )
    assert found.output == (
        "({'train.stop.epochs': '3', 'task.target': 'a=b'}, 'human', {'inputs': 2, 'encoder': 'some/dir'})\n"
    )


def test_values_of_arguments_are_json_where_they_can_be():
    found = call("--arg", "hidden=[64, 32]", "--arg", 'encoder="7"', "--arg", "dropout=0.1", "--arg", "path=[x")
    assert "{'hidden': [64, 32], 'encoder': '7', 'dropout': 0.1, 'path': '[x'}" in found.output


@pytest.mark.parametrize("option", ["--set", "--arg"])
def test_a_pair_needs_an_equals_sign(option):
    found = call(option, "train.stop.epochs")
    assert found.exit_code == 2
    assert "'train.stop.epochs' is not NAME=VALUE" in found.output


def test_a_slip_is_told():
    assert (
        "there is no setting 'train.stop.epoch'; did you mean 'train.stop.epochs'?"
        in call("--set", "train.stop.epoch=3").output
    )
    assert call("--set", "quite.different=3").exit_code == 0  # the configuration names all there are


def test_formats_are_three():
    assert "'xml' is not one of 'human', 'json', 'quiet'" in call("--format", "xml").output


def test_a_folder_without_a_project_is_named(tmp_path):
    for open_it in (open_store, open_learner):
        with pytest.raises(UsageError, match=f"{tmp_path} is not a dripstone project"):
            open_it(str(tmp_path))


def test_a_project_opens(template):
    config, repository = open_store(str(template))
    assert config.task.input == ["x", "y"]
    learner = open_learner(str(template), {"train.stop.epochs": "3"})
    assert learner.config.train.stop.epochs == 3
    assert learner.repository.log.head() == repository.log.head()
