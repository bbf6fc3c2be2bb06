"""Agent frameworks and programs for Python against a running server: a turn, a stream, a tool loop, a structured answer.

    python agents.py http://127.0.0.1:8080 MODEL [--only GROUP ...]

Groups: langchain, llama_index, instructor, pydantic_ai, openai_agents, dspy, llm, anthropic_runner, shapes, llama_benchy,
guidellm. A group whose package is not installed is left out. Small models call tools when they must, so calls are required
where a client can say so.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import urllib.request

os.environ.setdefault("OPENAI_API_KEY", "none")
os.environ.setdefault("OPENAI_AGENTS_DISABLE_TRACING", "1")
os.environ.setdefault("DSPY_CACHEDIR", tempfile.mkdtemp())
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from report import Report

FOLDER = pathlib.Path(__file__).parent
GROUPS = {}


def group(package):
    """Registers a group of cases, and the package that it needs."""
    def register(function):
        GROUPS[function.__name__] = (package, function)
        return function
    return register


@group("langchain_openai")
def langchain(report, base, model):
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI
    from pydantic import BaseModel, Field

    class City(BaseModel):
        name: str = Field(max_length=20)
        large: bool

    @tool
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return "It rains."

    def client(**more):
        return ChatOpenAI(model=model, base_url=f"{base}/v1", api_key="none", max_tokens=64, temperature=0, **more)

    with report.case("langchain-openai: turn and stream"):
        whole = client().invoke("Name a colour.").content
        assert whole and "".join(chunk.content for chunk in client().stream("Name a colour.")) == whole
    with report.case("langchain-openai: tool loop"):
        bound = client().bind_tools([get_weather], tool_choice="required")
        question = HumanMessage("The weather in Bern?")
        asked = bound.invoke([question])
        call = asked.tool_calls[0]
        result = get_weather.invoke(call["args"])
        messages = [question, asked, ToolMessage(result, tool_call_id=call["id"])]
        assert client().bind_tools([get_weather]).invoke(messages).content is not None
    with report.case("langchain-openai: structured answers"):
        for method in ("json_schema", "function_calling"):
            city = client().with_structured_output(City, method=method).invoke("Describe Bern.")
            assert isinstance(city, City), city
    with report.case("langchain-openai: responses"):
        assert client(use_responses_api=True).invoke("Name a colour.").content


@group("llama_index.llms.openai_like")
def llama_index(report, base, model):
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool
    from llama_index.llms.openai_like import OpenAILike
    from pydantic import BaseModel, Field

    class City(BaseModel):
        name: str = Field(max_length=20)
        large: bool

    def get_weather(city: str) -> str:
        """The weather of a city."""
        return "It rains."

    client = OpenAILike(model=model, api_base=f"{base}/v1", api_key="none", is_chat_model=True,
                        is_function_calling_model=True, max_tokens=64, temperature=0, context_window=2048)
    message = [ChatMessage(role="user", content="Name a colour.")]
    with report.case("llama-index: turn and stream"):
        whole = client.chat(message).message.content
        assert whole and [part.message.content for part in client.stream_chat(message)][-1] == whole
    with report.case("llama-index: tool loop"):
        weather = FunctionTool.from_defaults(get_weather)
        answer = client.chat_with_tools([weather], user_msg="The weather in Bern?", tool_required=True)
        calls = client.get_tool_calls_from_response(answer)
        assert calls[0].tool_name == "get_weather", answer
        result = ChatMessage(role="tool", content="It rains.", additional_kwargs={"tool_call_id": calls[0].tool_id})
        history = [ChatMessage(role="user", content="The weather in Bern?"), answer.message, result]
        assert client.chat_with_tools([weather], chat_history=history).message is not None
    with report.case("llama-index: structured answer"):
        from llama_index.core.prompts import PromptTemplate
        city = client.structured_predict(City, PromptTemplate("Describe Bern."), llm_kwargs={"tool_choice": "required"})
        assert isinstance(city, City), city


@group("instructor")
def instructor(report, base, model):
    import instructor as library
    import openai
    from pydantic import BaseModel, Field

    class City(BaseModel):
        name: str = Field(max_length=20)
        large: bool

    raw = openai.OpenAI(base_url=f"{base}/v1", api_key="none")
    messages = [{"role": "user", "content": "Describe Bern."}]
    for mode in (library.Mode.TOOLS, library.Mode.JSON, library.Mode.JSON_SCHEMA):
        with report.case(f"instructor: a structured answer by {mode.name}"):
            client = library.from_openai(raw, mode=mode)
            city = client.chat.completions.create(model=model, messages=messages, response_model=City,
                                                  max_tokens=128, temperature=0, max_retries=2)
            assert isinstance(city, City), city
    with report.case("instructor: a streamed structured answer"):
        client = library.from_openai(raw, mode=library.Mode.TOOLS)
        parts = list(client.chat.completions.create_partial(model=model, messages=messages, response_model=City,
                                                            max_tokens=128, temperature=0))
        assert parts and parts[-1].name, parts


@group("pydantic_ai")
def pydantic_ai(report, base, model):
    from pydantic import BaseModel, Field
    from pydantic_ai import Agent, ModelSettings, NativeOutput, ToolOutput
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    class City(BaseModel):
        name: str = Field(max_length=20)
        large: bool

    provider = OpenAIProvider(base_url=f"{base}/v1", api_key="none")
    settings = ModelSettings(max_tokens=96, temperature=0)
    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        llm = kind(model, provider=provider)
        with report.case(f"pydantic-ai: turn and stream by {kind.__name__}"):
            agent = Agent(llm, model_settings=settings)
            assert agent.run_sync("Name a colour.").output

            async def stream():
                async with agent.run_stream("Name a colour.") as result:
                    return [text async for text in result.stream_text()]
            assert asyncio.run(stream())[-1]
        with report.case(f"pydantic-ai: structured answers by {kind.__name__}"):
            for output in (ToolOutput(City), NativeOutput(City)):
                agent = Agent(llm, output_type=output, model_settings=settings, retries=3)
                assert isinstance(agent.run_sync("Describe Bern.").output, City)
        with report.case(f"pydantic-ai: a tool loop by {kind.__name__}"):
            agent = Agent(llm, model_settings=settings, retries=3, system_prompt="Call get_weather.")

            @agent.tool_plain
            def get_weather(city: str) -> str:
                """The weather of a city."""
                return "It rains."

            assert agent.run_sync("The weather in Bern?").all_messages()


@group("agents")
def openai_agents(report, base, model):
    from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
    from openai import AsyncOpenAI
    from pydantic import BaseModel, Field

    class City(BaseModel):
        name: str = Field(max_length=20)
        large: bool

    @function_tool
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return "It rains."

    client = AsyncOpenAI(base_url=f"{base}/v1", api_key="none")
    for kind in (OpenAIChatCompletionsModel, OpenAIResponsesModel):
        def agent(**more):
            options = {"max_tokens": 96, "temperature": 0} | more.pop("settings", {})
            llm = kind(model=model, openai_client=client)
            return Agent(name="a", instructions="Be brief.", model=llm, model_settings=ModelSettings(**options), **more)

        with report.case(f"openai-agents: turn and stream by {kind.__name__}"):
            assert asyncio.run(Runner.run(agent(), "Name a colour.")).final_output

            async def stream():
                result = Runner.run_streamed(agent(), "Name a colour.")
                return [event.type async for event in result.stream_events()]
            assert "raw_response_event" in asyncio.run(stream())
        with report.case(f"openai-agents: a tool loop by {kind.__name__}"):
            calls = agent(tools=[get_weather], settings={"tool_choice": "required"})
            result = asyncio.run(Runner.run(calls, "The weather in Bern?", max_turns=4))
            assert any(item.type == "tool_call_output_item" for item in result.new_items), result.new_items
        with report.case(f"openai-agents: a structured answer by {kind.__name__}"):
            result = asyncio.run(Runner.run(agent(output_type=City), "Describe Bern."))
            assert isinstance(result.final_output, City)


@group("dspy")
def dspy(report, base, model):
    import dspy as library
    lm = library.LM(f"openai/{model}", api_base=f"{base}/v1", api_key="none", max_tokens=200, temperature=0.0, cache=False)
    library.configure(lm=lm)
    with report.case("dspy: turn"):
        assert lm("Name a colour.")
    with report.case("dspy: a structured answer"):
        class Describe(library.Signature):
            """Describe a city."""
            city: str = library.InputField()
            large: bool = library.OutputField()
        with library.context(adapter=library.JSONAdapter()):
            assert library.Predict(Describe)(city="Bern").large in (True, False)


@group("llm")
def llm(report, base, model):
    with tempfile.TemporaryDirectory() as folder:
        lines = f"- model_id: here\n  model_name: {model}\n  api_base: {base}/v1\n  supports_tools: true\n  supports_schema: true\n"
        (pathlib.Path(folder) / "extra-openai-models.yaml").write_text(lines)
        environment = os.environ | {"LLM_USER_PATH": folder}

        def run(*arguments):
            program = [sys.executable, "-m", "llm", *arguments]
            return subprocess.run(program, env=environment, capture_output=True, text=True, check=True, timeout=300).stdout
        with report.case("llm: turn and stream"):
            assert run("-m", "here", "-o", "max_tokens", "24", "--no-stream", "Name a colour.").strip()
            assert run("-m", "here", "-o", "max_tokens", "24", "Name a colour.").strip()
        with report.case("llm: a structured answer"):
            answer = run("-m", "here", "-o", "max_tokens", "128", "--schema", "large bool, count int", "Describe Bern.")
            assert isinstance(json.loads(answer)["large"], bool), answer
        with report.case("llm: tools"):
            assert run("-m", "here", "-o", "max_tokens", "48", "-T", "llm_time", "What time is it?") is not None


@group("anthropic")
def anthropic_runner(report, base, model):
    import anthropic
    from pydantic import BaseModel, Field

    class City(BaseModel):
        name: str = Field(max_length=20)
        large: bool

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather of a city.

        Args:
            city: The city.
        """
        return "It rains."

    client = anthropic.Anthropic(base_url=base, api_key="none", max_retries=0)
    messages = [{"role": "user", "content": "The weather in Bern?"}]
    with report.case("anthropic: turn and stream"):
        assert client.messages.create(model=model, max_tokens=24, messages=messages).content[0].text
        with client.messages.stream(model=model, max_tokens=24, messages=messages) as stream:
            assert "".join(stream.text_stream)
    with report.case("anthropic: the tool runner"):
        runner = client.beta.messages.tool_runner(model=model, max_tokens=96, messages=messages,
                                                  tools=[get_weather], max_iterations=3)
        assert list(runner)
        forced = client.beta.messages.tool_runner(model=model, max_tokens=96, messages=messages,
                                                  tools=[get_weather], max_iterations=2, tool_choice={"type": "any"})
        assert any(block.type == "tool_use" for message in forced for block in message.content)
    with report.case("anthropic: a structured answer"):
        parsed = client.messages.parse(model=model, max_tokens=96, output_format=City,
                                       messages=[{"role": "user", "content": "Describe Bern."}])
        assert isinstance(parsed.parsed_output, City), parsed
    with report.case("anthropic: models are listed"):
        assert model in [entry.id for entry in client.models.list()]


@group(None)
def shapes(report, base, model):
    """Requests in the shapes that Claude Code and VS Code's Copilot send, written by us."""
    for file in sorted((FOLDER / "shapes").glob("*.json")):
        shape = json.loads(file.read_text())
        for stream in (False, True):
            with report.case(f"shape {file.stem}, {'streamed' if stream else 'whole'}"):
                body = shape["body"] | {"model": model, "stream": stream}
                if not stream:
                    body.pop("stream_options", None)
                headers = {"content-type": "application/json"} | shape["headers"]
                request = urllib.request.Request(base + shape["path"], json.dumps(body).encode(), headers)
                with urllib.request.urlopen(request, timeout=300) as answer:
                    text = answer.read().decode()
                assert shape["ends"] in text if stream else json.loads(text), text[-300:]


def program(report, name, *arguments):
    """Runs a program of a package."""
    path = pathlib.Path(sys.executable).parent / name
    found = str(path) if path.exists() else shutil.which(name)
    if not found:
        return report.skipped(name, "it is not installed")
    with report.case(f"{name}: a run"):
        with tempfile.TemporaryDirectory() as folder:
            ended = subprocess.run([found, *arguments], cwd=folder, capture_output=True, text=True, timeout=600)
            assert ended.returncode == 0, (ended.stdout + ended.stderr)[-600:]


@group(None)
def llama_benchy(report, base, model):
    program(report, "llama-benchy", "--base-url", f"{base}/v1", "--model", model, "--tokenizer", "gpt2", "--pp", "64",
            "--tg", "16", "--runs", "1", "--skip-coherence")


@group(None)
def guidellm(report, base, model):
    program(report, "guidellm", "benchmark", "--target", base, "--rate-type", "synchronous", "--max-requests", "2",
            "--data", "prompt_tokens=32,output_tokens=8", "--processor", "gpt2")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("model")
    parser.add_argument("--only", nargs="*", choices=list(GROUPS), default=list(GROUPS))
    arguments = parser.parse_args()
    report = Report("agents")
    for name in arguments.only:
        package, cases = GROUPS[name]
        try:
            missing = package and importlib.util.find_spec(package) is None
        except ModuleNotFoundError:
            missing = True
        if missing:
            report.skipped(name, f"{package} is not installed")
            continue
        cases(report, arguments.base.rstrip("/"), arguments.model)
    report.end()


main()
