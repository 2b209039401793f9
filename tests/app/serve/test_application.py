"""The application as a whole: what it says of itself, and whatever is sent to it."""

import openai
import pytest
from live import http

from limner.app.serve.application import create_app
from limner.app.serve.settings import Settings


def test_the_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["echo", "masked", "flow"]
    one = client.models.retrieve("flow")
    assert one.id == "flow" and one.object == "model" and one.family == "mindomni"


def test_a_model_that_is_not_served_is_named(client):
    for ask in (
        lambda: client.models.retrieve("gpt-4o"),
        lambda: client.images.generate(model="gpt-4o", prompt="a"),
        lambda: client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "a"}]),
    ):
        with pytest.raises(openai.NotFoundError, match="gpt-4o") as caught:
            ask()
        assert caught.value.code == "model_not_found" and caught.value.param == "model"


def test_without_a_name_the_first_model_is_meant(served):
    told = http.post(f"{served.base}/v1/images/generations", json={"prompt": "a red cat"}).json()
    assert told["model"] == "echo"


def test_it_says_that_it_is_well(served):
    told = http.get(f"{served.base}/health").json()
    assert told["status"] == "ok" and told["models"] == ["echo", "masked", "flow"]


def test_another_method_is_refused_in_openais_shape(served):
    told = http.get(f"{served.base}/v1/images/generations")
    assert told.status_code == 405 and told.json()["error"]["code"] == "method_not_allowed"


def test_nothing_to_serve_is_an_error():
    with pytest.raises(ValueError, match="at least one model"):
        create_app({})


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"queue": -1}, {"port": 70_000}, {"body": 0}], ids=str)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


def test_all_routes_stand_in_the_openapi_document(served):
    paths = http.get(f"{served.base}/openapi.json").json()["paths"]
    assert {"/v1/models", "/v1/chat/completions", "/v1/images/generations", "/v1/images/edits"} <= set(paths)
    form = paths["/v1/images/edits"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"image", "mask", "prompt", "seed", "plan"} <= set(form["properties"])
