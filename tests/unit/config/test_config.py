from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from libs.config import ConfigError, ServiceConfig, describe, load, unknown_variables


class SampleConfig(ServiceConfig, env_prefix="SAMPLE_"):
    """Settings for these tests."""

    ratio: float = Field(0.5, ge=0, le=1, description="a share, in [0, 1]")
    api_key: SecretStr = Field(SecretStr(""), description="a secret")


def test_a_variable_sets_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_RATIO", "0.25")
    assert load(SampleConfig).ratio == 0.25


def test_a_bad_value_names_its_variable_and_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_RATIO", "1.5")
    with pytest.raises(ConfigError, match="SAMPLE_RATIO='1.5': .*less than or equal to 1"):
        load(SampleConfig)


def test_a_bad_shared_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASTEN_LOG_LEVEL", "loud")
    with pytest.raises(ConfigError, match="HASTEN_LOG_LEVEL='loud'"):
        load(SampleConfig)


def test_a_secret_may_come_from_a_file_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "key"
    secret.write_text("swordfish\n")
    monkeypatch.setenv("SAMPLE_API_KEY_FILE", str(secret))
    config = load(SampleConfig)
    assert config.api_key.get_secret_value() == "swordfish"
    assert "swordfish" not in repr(config)


def test_a_file_that_is_not_there_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_API_KEY_FILE", "/nowhere/key")
    with pytest.raises(ConfigError, match="SAMPLE_API_KEY_FILE='/nowhere/key'"):
        load(SampleConfig)


def test_a_slip_of_the_pen_is_found() -> None:
    env = {"SAMPLE_RATOI": "1", "SAMPLE_RATIO": "1", "SAMPLE_API_KEY_FILE": "x", "OTHER": "1"}
    assert unknown_variables(SampleConfig, env) == ["SAMPLE_RATOI"]


def test_every_setting_says_what_it_means() -> None:
    described = list(describe(SampleConfig))
    assert {variable for variable, _, _ in described} >= {"SAMPLE_RATIO", "HASTEN_TOKEN"}
    assert all(meaning for _, _, meaning in described)
