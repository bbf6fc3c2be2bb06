"""The clients people use, against a running server: openai (strict), anthropic, litellm.

    python clients.py http://127.0.0.1:8080 MODEL [--api-key KEY] [--context N] [--without GROUP ...]

Groups: openai, chat, structure, tools, embeddings, responses, errors, anthropic, litellm. Every request has few tokens.
"""

import argparse
import asyncio
import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # litellm would fetch its table of prices otherwise

import anthropic
import jsonschema
import litellm
import openai

from report import Report

PROMPT = "The capital of France is"
MESSAGES = [{"role": "user", "content": "Name a colour."}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather of a city.", "parameters": SCHEMA}}
WEATHER = [{"role": "user", "content": "What is the weather in Paris, in celsius?"}]
GROUPS = {}


def group(function):
    GROUPS[function.__name__.removesuffix("_group")] = function
    return function


@group
def openai_group(report, client, arguments):
    model = arguments.model
    with report.case("openai: models are listed, one is retrieved"):
        names = [entry.id for entry in client.models.list()]
        assert model in names, names
        assert client.models.retrieve(model).id == model
    with report.case("openai: completion and usage"):
        answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=8, temperature=0)
        usage = answer.usage
        assert answer.choices[0].finish_reason in ("length", "stop") and answer.choices[0].text
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens and usage.completion_tokens <= 8
    with report.case("openai: streamed completion is the same text, with usage"):
        # Strict validation has no place for a finish_reason of null, which OpenAI itself sends here.
        loose = not_strict(client)
        whole = client.completions.create(model=model, prompt=PROMPT, max_tokens=12, temperature=0)
        options = {"include_usage": True}
        chunks = list(loose.completions.create(model=model, prompt=PROMPT, max_tokens=12, temperature=0, stream=True, stream_options=options))
        assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens and chunks[-1].choices == []
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason
    with report.case("openai: several prompts, n, stop and seed"):
        answer = client.completions.create(model=model, prompt=[PROMPT, "One, two,"], n=2, max_tokens=4, temperature=0.9, seed=5)
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        again = client.completions.create(model=model, prompt=[PROMPT, "One, two,"], n=2, max_tokens=4, temperature=0.9, seed=5)
        assert [choice.text for choice in answer.choices] == [choice.text for choice in again.choices]
        text = client.completions.create(model=model, prompt=PROMPT, max_tokens=12, temperature=0).choices[0].text
        cut = client.completions.create(model=model, prompt=PROMPT, max_tokens=12, temperature=0, stop=[text[4:7]]).choices[0]
        assert cut.finish_reason == "stop" and cut.text == text[:text.index(text[4:7])], (text, cut)
    with report.case("openai: the logprobs of echoed tokens are those of generated ones"):
        made = client.completions.create(model=model, prompt=PROMPT, max_tokens=6, temperature=0, logprobs=2).choices[0]
        assert len(made.logprobs.tokens) == len(made.logprobs.token_logprobs) == 6, made.logprobs
        # Strict validation refuses null, which stands before the first token as it does in OpenAI's own answers.
        echoed = loose.completions.create(model=model, prompt=PROMPT + made.text, max_tokens=1, temperature=0, logprobs=2, echo=True).choices[0]
        assert echoed.text.startswith(PROMPT + made.text)
        assert echoed.logprobs.token_logprobs[0] is None, "nothing comes before the first token"
        pairs = list(zip(made.logprobs.token_logprobs, echoed.logprobs.token_logprobs[-7:-1]))
        assert all(abs(a - b) < 1e-3 for a, b in pairs), pairs
        assert echoed.logprobs.text_offset == sorted(echoed.logprobs.text_offset)
    with report.case("openai: token ids as a prompt"):
        answer = client.completions.create(model=model, prompt=[1000, 1001, 1002], max_tokens=2, temperature=0)
        assert answer.usage.prompt_tokens == 3, answer.usage


@group
def chat_group(report, client, arguments):
    model = arguments.model
    with report.case("chat: whole and streamed are the same"):
        whole = client.chat.completions.create(model=model, messages=MESSAGES, max_completion_tokens=12, temperature=0)
        options = {"include_usage": True}
        chunks = list(client.chat.completions.create(
            model=model, messages=MESSAGES, max_completion_tokens=12, temperature=0, stream=True, stream_options=options))
        assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
        assert reasons[-1] == whole.choices[0].finish_reason and not any(reasons[:-1]), reasons
        counts = lambda usage: (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
        assert chunks[-1].choices == [] and counts(chunks[-1].usage) == counts(whole.usage), (chunks[-1], whole.usage)
        assert len({chunk.id for chunk in chunks}) == 1
    with report.case("chat: logprobs"):
        answer = client.chat.completions.create(
            model=model, messages=MESSAGES, max_completion_tokens=4, temperature=0, logprobs=True, top_logprobs=3)
        for entry in answer.choices[0].logprobs.content:
            assert len(entry.top_logprobs) == 3 and entry.logprob == max(top.logprob for top in entry.top_logprobs), entry
            assert entry.logprob <= 0 and (entry.bytes is None or bytes(entry.bytes))
    with report.case("chat: n, seed, stop, penalties and logit_bias"):
        ask = lambda: client.chat.completions.create(
            model=model, messages=MESSAGES, n=2, seed=3, temperature=1, top_p=0.9, frequency_penalty=0.5, presence_penalty=0.5,
            logit_bias={"1000": -100}, stop=["\n\n"], max_completion_tokens=8)
        first, second = ask(), ask()
        assert [choice.index for choice in first.choices] == [0, 1]
        assert [c.message.content for c in first.choices] == [c.message.content for c in second.choices]
    with report.case("chat: asynchronous, four at once"):
        async def ask():
            async with openai.AsyncOpenAI(base_url=client.base_url, api_key=client.api_key, _strict_response_validation=True) as other:
                async def one():
                    stream = await other.chat.completions.create(model=model, messages=MESSAGES, max_completion_tokens=8, temperature=0, stream=True)
                    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
                return await asyncio.gather(*(one() for _ in range(4)))
        texts = asyncio.run(ask())
        assert texts[0] and len(set(texts)) == 1, texts


@group
def structure_group(report, client, arguments):
    with report.case("structure: json_schema is honoured"):
        form = {"type": "json_schema", "json_schema": {"name": "weather", "strict": True, "schema": SCHEMA}}
        answer = client.chat.completions.create(model=arguments.model, messages=WEATHER, response_format=form, max_completion_tokens=100)
        jsonschema.validate(json.loads(answer.choices[0].message.content), SCHEMA)
    with report.case("structure: json_object is honoured"):
        messages = [{"role": "user", "content": 'Answer in JSON: {"colour": "red"}'}]
        answer = client.chat.completions.create(
            model=arguments.model, messages=messages, response_format={"type": "json_object"}, max_completion_tokens=200, temperature=0)
        if answer.choices[0].finish_reason == "stop":
            assert isinstance(json.loads(answer.choices[0].message.content), dict)
        else:
            assert answer.choices[0].message.content.lstrip().startswith("{")
    with report.case("structure: a schema that cannot be is refused"):
        form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"type": "colour"}}}
        refused(openai.BadRequestError, lambda: client.chat.completions.create(
            model=arguments.model, messages=WEATHER, response_format=form, max_completion_tokens=5))


@group
def tools_group(report, client, arguments):
    named = {"type": "function", "function": {"name": "get_weather"}}
    with report.case("tools: a named tool is called, its arguments fit"):
        answer = client.chat.completions.create(
            model=arguments.model, messages=WEATHER, tools=[TOOL], tool_choice=named, max_completion_tokens=120, temperature=0)
        check_call(answer.choices[0].message.tool_calls[0].function)
    with report.case("tools: the same when streamed"):
        stream = client.chat.completions.create(
            model=arguments.model, messages=WEATHER, tools=[TOOL], tool_choice="required", parallel_tool_calls=False,
            max_completion_tokens=120, temperature=0, stream=True)
        name, text, reason = "", "", None
        for chunk in stream:
            reason = chunk.choices[0].finish_reason or reason
            for call in chunk.choices[0].delta.tool_calls or []:
                assert call.index == 0
                name += call.function.name or ""
                text += call.function.arguments or ""
        assert (name, reason) == ("get_weather", "tool_calls"), (name, reason)
        jsonschema.validate(json.loads(text), SCHEMA)
    with report.case("tools: the result can be given back"):
        call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris","unit":"celsius"}'}}
        messages = [*WEATHER, {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_1", "content": "18"}]
        answer = client.chat.completions.create(model=arguments.model, messages=messages, tools=[TOOL], tool_choice="none", max_completion_tokens=8)
        assert not answer.choices[0].message.tool_calls


@group
def embeddings_group(report, client, arguments):
    texts = ["a horse in a stable", "a mare in her box", "compound interest"]
    with report.case("embeddings: as numbers and, as the client asks by itself, in base64"):
        numbers = client.embeddings.create(model=arguments.model, input=texts, encoding_format="float")
        # Strict validation would refuse the client's own base64.
        encoded = not_strict(client).embeddings.create(model=arguments.model, input=texts)
        assert [entry.index for entry in numbers.data] == [0, 1, 2]
        for a, b in zip(numbers.data, encoded.data):
            assert len(a.embedding) == len(b.embedding) > 1
            assert all(abs(x - y) < 1e-5 * (1 + abs(x)) for x, y in zip(a.embedding, b.embedding))
        assert numbers.usage.prompt_tokens == numbers.usage.total_tokens > 0
    with report.case("embeddings: one text alone is what it is among others"):
        alone = client.embeddings.create(model=arguments.model, input=texts[1], encoding_format="float").data[0].embedding
        assert all(abs(x - y) < 1e-5 * (1 + abs(x)) for x, y in zip(alone, numbers.data[1].embedding))


@group
def responses_group(report, client, arguments):
    with report.case("responses: whole and streamed are the same"):
        whole = client.responses.create(model=arguments.model, input="Name a colour.", max_output_tokens=12, temperature=0, store=False)
        assert whole.output_text and whole.usage.output_tokens <= 12
        events = list(client.responses.create(
            model=arguments.model, input="Name a colour.", max_output_tokens=12, temperature=0, store=False, stream=True))
        assert events[0].type == "response.created" and events[-1].type in ("response.completed", "response.incomplete"), events[-1]
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert text == whole.output_text
        assert [event.sequence_number for event in events] == list(range(events[0].sequence_number, events[0].sequence_number + len(events)))


def not_strict(client):
    return client.with_options(_extra_kwargs={"_strict_response_validation": False})


def refused(kind, ask, *words):
    """What is asked is refused with that class of error, and the message holds the words."""
    try:
        answer = ask()
    except kind as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, f"{missing} not in: {error}"
        return
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} instead of {kind.__name__}: {error}") from error
    raise AssertionError(f"accepted: {str(answer)[:200]}")


@group
def errors_group(report, client, arguments):
    ask = lambda **changes: lambda: client.chat.completions.create(**{"model": arguments.model, "messages": MESSAGES, "max_completion_tokens": 2, **changes})
    with report.case("errors: values out of range are refused by name"):
        for name, value in [("temperature", -1), ("top_p", 2), ("n", 0), ("max_completion_tokens", -5), ("top_logprobs", 1000), ("messages", []), ("stop", 7)]:
            refused(openai.BadRequestError, ask(**{name: value}), name)
        refused(openai.BadRequestError, ask(temperature="warm"), "temperature")
    with report.case("errors: an unknown parameter is refused by name"):
        refused(openai.BadRequestError, ask(extra_body={"temprature": 1}), "temprature")
    with report.case("errors: an unknown model is not found"):
        refused(openai.NotFoundError, ask(model="no-such-model"), "no-such-model")
        refused(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))
        refused(openai.NotFoundError, lambda: client.get("/no-such-path", cast_to=object))
    with report.case("errors: a prompt that is too long is refused with both numbers"):
        count = arguments.context + 100
        refused(openai.BadRequestError, lambda: client.completions.create(model=arguments.model, prompt=[1000] * count, max_tokens=1), str(count))
    if arguments.api_key:
        with report.case("errors: a wrong key is refused"):
            refused(openai.AuthenticationError, lambda: client.with_options(api_key="wrong").models.list())
    else:
        report.skipped("errors: a wrong key is refused", "the server has no key")


@group
def anthropic_group(report, client, arguments):
    client = anthropic.Anthropic(
        base_url=arguments.url, api_key=arguments.api_key or "none", max_retries=0, _strict_response_validation=True)
    common = {"model": arguments.model, "messages": MESSAGES, "max_tokens": 12}
    greedy = {"temperature": 0}  # the endpoint has it, the client's own signature no longer does
    with report.case("anthropic: a message"):
        whole = client.messages.create(**common, system="Be brief.", extra_body=greedy)
        assert whole.role == "assistant" and whole.content[0].text and whole.stop_reason in ("end_turn", "max_tokens"), whole
        assert 0 < whole.usage.output_tokens <= 12
    with report.case("anthropic: streamed it is the same"):
        with client.messages.stream(**common, system="Be brief.", extra_body=greedy) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert text == whole.content[0].text and final.stop_reason == whole.stop_reason
        assert final.usage.output_tokens == whole.usage.output_tokens
    with report.case("anthropic: tokens are counted as they are used"):
        count = client.messages.count_tokens(model=arguments.model, messages=MESSAGES, system="Be brief.")
        usage = whole.usage
        assert count.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0), (count, usage)
    with report.case("anthropic: a tool is called, its arguments fit"):
        tool = {"name": "get_weather", "description": "The weather of a city.", "input_schema": SCHEMA}
        answer = client.messages.create(
            model=arguments.model, messages=WEATHER, max_tokens=120, tools=[tool], tool_choice={"type": "tool", "name": "get_weather"})
        call = next(block for block in answer.content if block.type == "tool_use")
        assert (call.name, answer.stop_reason) == ("get_weather", "tool_use")
        jsonschema.validate(call.input, SCHEMA)
    with report.case("anthropic: errors come as its own classes"):
        refused(anthropic.BadRequestError, lambda: client.messages.create(**{**common, "max_tokens": 0}), "max_tokens")
        refused(anthropic.NotFoundError, lambda: client.messages.create(**{**common, "model": "no-such-model"}))


@group
def litellm_group(report, client, arguments):
    common = {"model": f"openai/{arguments.model}", "api_base": str(client.base_url), "api_key": client.api_key, "max_retries": 0}
    with report.case("litellm: whole and streamed are the same"):
        whole = litellm.completion(**common, messages=MESSAGES, max_tokens=12, temperature=0)
        stream = litellm.completion(**common, messages=MESSAGES, max_tokens=12, temperature=0, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == whole.choices[0].message.content != ""
    if "tools" not in arguments.without:
        with report.case("litellm: a tool is called"):
            named = {"type": "function", "function": {"name": "get_weather"}}
            answer = litellm.completion(**common, messages=WEATHER, tools=[TOOL], tool_choice=named, max_tokens=120, temperature=0)
            check_call(answer.choices[0].message.tool_calls[0].function)
    if "embeddings" not in arguments.without:
        with report.case("litellm: an embedding"):
            answer = litellm.embedding(**common, input=["a horse"], encoding_format="float")
            assert len(answer.data[0]["embedding"]) > 1


def check_call(function):
    assert function.name == "get_weather"
    jsonschema.validate(json.loads(function.arguments), SCHEMA)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="the server, without a path")
    parser.add_argument("model")
    parser.add_argument("--api-key")
    parser.add_argument("--context", type=int, default=8192, help="no sequence of the server may be longer (default: 8192)")
    parser.add_argument("--without", nargs="*", default=[], choices=GROUPS, metavar="GROUP")
    arguments = parser.parse_args()
    arguments.url = arguments.url.rstrip("/")
    client = openai.OpenAI(
        base_url=f"{arguments.url}/v1", api_key=arguments.api_key or "none", max_retries=0, timeout=300, _strict_response_validation=True)
    report = Report("clients")
    for name, run in GROUPS.items():
        if name in arguments.without:
            report.skipped(name, "--without")
        else:
            run(report, client, arguments)
    report.end()


if __name__ == "__main__":
    main()
