"""How the pipelines of a configuration hang together: names, brokers, topics, serial ports, chains, loops.

All functions take a draft: a part with a fault of its own is None and is passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from edged.config.check import Document
from edged.config.decoding import labels_of
from edged.config.places import Path
from edged.config.schema import Config, FileOutput, FileSource, MqttOutput, MqttSource, Pipeline, PipelineSource, StdinSource
from edged.config.serial_lines import check_serial_lines
from edged.config.topics import OWN_NAMES, levels_of, names_in, output_problems, overlap, source_problems
from edged.config.words import show


def check_wiring(config: Config, device_id: str, document: Document) -> None:
    """Note each fault in how pipelines, brokers and topics refer to each other."""
    _check_names(config, document)
    _check_stdin(config, document)
    check_serial_lines(pipelines_of(config), document)
    _check_chains(config, document)
    _check_brokers(config, document)
    _check_topics(config, document)
    _check_topic_loops(config, device_id, document)
    _check_questions(config, device_id, document)
    _check_output_files(config, document)


def pipelines_of(config: Config) -> list[tuple[int, Pipeline]]:
    """Give the pipelines of a draft with their index, without those that are no tables."""
    return [(i, pipeline) for i, pipeline in enumerate(config.pipelines or []) if pipeline is not None]


def _outputs(config: Config) -> Iterator[tuple[Path, Pipeline, object]]:
    for i, pipeline in pipelines_of(config):
        for k, output in enumerate(pipeline.outputs or []):
            yield ("pipelines", i, "outputs", k), pipeline, output


def _check_names(config: Config, document: Document) -> None:
    first: dict[str, int] = {}
    for i, pipeline in pipelines_of(config):
        if pipeline.name in first:
            text = f"{show(pipeline.name)} is also the name of pipelines[{first[pipeline.name]}]"
            document.fault(("pipelines", i, "name"), "duplicate-name", text, "give each pipeline its own name")
        elif pipeline.name is not None:
            first[pipeline.name] = i


def _check_stdin(config: Config, document: Document) -> None:
    readers = [(i, pipeline.name) for i, pipeline in pipelines_of(config) if isinstance(pipeline.source, StdinSource)]
    for i, _ in readers[1:]:
        text = f"standard input is read by {show(readers[0][1] or 'another pipeline')} already"
        document.fault(("pipelines", i, "source"), "duplicate-stdin", text, "one pipeline alone can read it")


def _check_chains(config: Config, document: Document) -> None:
    """Note pipeline sources that lead nowhere or round in a circle; a circle once, where it begins."""
    index = {pipeline.name: i for i, pipeline in reversed(pipelines_of(config)) if pipeline.name is not None}
    next_of = {name: source.name for name, i in index.items() if isinstance(source := config.pipelines[i].source, PipelineSource)}
    for i, pipeline in pipelines_of(config):
        if isinstance(pipeline.source, PipelineSource) and pipeline.source.name not in (None, *index):
            known = ", ".join(name for name in index if name != pipeline.name) or "none but this one"
            text = f"there is no pipeline {show(pipeline.source.name)}"
            document.fault(("pipelines", i, "source", "name"), "unknown-pipeline", text, f"pipelines: {known}")
        if isinstance(pipeline.source, PipelineSource) and pipeline.queue is not None and pipeline.queue.full == "block":
            text = "would make one pipeline wait for another, which the same thread may have to run"
            document.fault(("pipelines", i, "queue", "full"), "queue-blocks", text, "let it drop, and make `size` larger")
    in_circle: set[str] = set()
    for name, i in sorted(index.items(), key=lambda item: item[1]):
        circle = _circle(name, next_of)
        if circle and not in_circle.intersection(circle):
            in_circle.update(circle)
            text = "is this pipeline itself" if len(circle) == 1 else f"leads back to itself: {' ← '.join([*circle, name])}"
            document.fault(("pipelines", i, "source", "name"), "pipeline-loop", text, "let the first one read from elsewhere")


def _circle(name: str, next_of: dict[str, str]) -> list[str]:
    """Give the names from `name` back to `name`, or nothing."""
    seen = [name]
    while (following := next_of.get(seen[-1])) is not None and following not in seen:
        seen.append(following)
    return seen if following == name else []


def _check_brokers(config: Config, document: Document) -> None:
    if config.mqtt is None:
        return
    main_is_missing = False
    for path, name in _broker_uses(config):
        if name == "main" and name not in config.mqtt and not main_is_missing:
            main_is_missing = True
            hint = 'add `[mqtt.main]` with `url = "mqtt://host:1883"`; `url = "embedded"` is a broker of our own'
            document.fault(path, "no-broker", "needs a broker, and there is no `[mqtt.main]`", hint)
        elif name not in ("main", *config.mqtt):
            known = ", ".join(config.mqtt) or "none"
            document.fault(path, "unknown-broker", f"there is no `[mqtt.{name}]`", f"brokers: {known}")


def _broker_uses(config: Config) -> Iterator[tuple[Path, str]]:
    """Give each place that names a broker, and the name; the key need not be written in the file."""
    for i, pipeline in pipelines_of(config):
        if isinstance(pipeline.source, MqttSource) and pipeline.source.broker is not None:
            yield ("pipelines", i, "source", "broker"), pipeline.source.broker
        for k, output in enumerate(pipeline.outputs or []):
            if isinstance(output, MqttOutput) and output.broker is not None:
                yield ("pipelines", i, "outputs", k, "broker"), output.broker
        if pipeline.escalate is not None and pipeline.escalate.broker is not None:
            yield ("pipelines", i, "escalate", "broker"), pipeline.escalate.broker
    if config.fleet is not None and config.fleet.root and "mqtt" in (config.fleet.repositories or []):
        yield ("fleet", "root"), "main"


def _check_topics(config: Config, document: Document) -> None:
    by_name = {pipeline.name: pipeline for _, pipeline in pipelines_of(config)}
    for i, pipeline in pipelines_of(config):
        source = pipeline.source
        if isinstance(source, MqttSource) and source.topic is not None:
            for text, hint in source_problems(source.topic):
                document.fault(("pipelines", i, "source", "topic"), "bad-topic", text, hint)
            for name in sorted(set(names_in(source.topic)) & (labels_of(pipeline.decoder) or set())):
                text = f"{show(name)} is a label from the topic already"
                document.fault(("pipelines", i, "decoder", "labels"), "duplicate-name", text, "give one of the two another name")
        for k, output in enumerate(pipeline.outputs or []):
            if isinstance(output, MqttOutput) and output.topic is not None:
                for text, hint in output_problems(output.topic, _labels(pipeline, by_name)):
                    document.fault(("pipelines", i, "outputs", k, "topic"), "bad-topic", text, hint)


def _labels(pipeline: Pipeline | None, by_name: dict[str, Pipeline]) -> set[str] | None:
    """Give the labels that the results of a pipeline have; None where they are not known from here."""
    labels: set[str] = set()
    for _ in range(len(by_name) + 1):  # a circle has no end
        if pipeline is None or pipeline.source is None or (own := labels_of(pipeline.decoder)) is None:
            return None
        labels |= own
        if not isinstance(pipeline.source, PipelineSource):
            topic = pipeline.source.topic if isinstance(pipeline.source, MqttSource) else ""
            return None if topic is None else labels | set(names_in(topic))
        pipeline = by_name.get(pipeline.source.name)
    return None


def _check_topic_loops(config: Config, device_id: str, document: Document) -> None:
    """Note each source whose topic takes in what a pipeline of this board, or edged itself, puts out."""
    fleet = config.device.fleet if config.device is not None else None
    written = list(_written_topics(config, fleet, device_id))
    for i, pipeline in pipelines_of(config):
        source = pipeline.source
        if not isinstance(source, MqttSource) or source.topic is None or source.broker is None:
            continue
        taken = levels_of(source.topic, {})
        for writer in dict.fromkeys(
            who for who, broker, levels in written if broker == _where(config, source.broker) and overlap(taken, levels)
        ):
            if writer is None:
                text, hint = "takes in edged's own events", "write a topic that does not fit them"
            elif writer == i:
                text, hint = "takes in this pipeline's own results", "change the topic here or in `outputs`"
            else:
                name = config.pipelines[writer].name or ""
                text = f"takes in the results of pipeline {show(name)}"
                hint = f'write `source = {{ type = "pipeline", name = "{name}" }}`, or change one of the topics'
            document.fault(("pipelines", i, "source", "topic"), "topic-loop", f"{show(source.topic)} {text}", hint)


def _written_topics(config: Config, fleet: str | None, device_id: str) -> Iterator[tuple[int | None, str, list[str]]]:
    """Give the index of the writing pipeline (None: edged itself), the broker, and a filter of what is written."""
    if fleet:
        yield None, _where(config, "main"), ["edged", "1", fleet, device_id, "evt", "+"]
    for (_, i, *_rest), pipeline, output in _outputs(config):
        if not isinstance(output, MqttOutput) or output.topic is None or output.broker is None or not isinstance(i, int):
            continue
        values = _own(pipeline, fleet, device_id)
        if not (set(names_in(output.topic)) & set(OWN_NAMES)) - set(values):
            yield i, _where(config, output.broker), levels_of(output.topic, values)


def _own(pipeline: Pipeline, fleet: str | None, device_id: str) -> dict[str, str]:
    """Give what stands in a pipeline's topics for edged's own names, as far as it is known."""
    own = {"fleet": fleet, "device": device_id, "pipeline": pipeline.name, "model": pipeline.model or "+"}
    return {name: value for name, value in own.items() if value is not None}


def _check_questions(config: Config, device_id: str, document: Document) -> None:
    """Note topics of questions and answers that are none, or that meet those of results, of sources, or each other."""
    fleet = config.device.fleet if config.device is not None else None
    written = list(_written_topics(config, fleet, device_id))
    sources = [(each.name, each.source) for _, each in pipelines_of(config) if isinstance(each.source, MqttSource)]
    for i, pipeline in pipelines_of(config):
        asking = pipeline.escalate
        if asking is None or asking.topic is None or asking.answers is None or asking.broker is None:
            continue
        topics = {"topic": asking.topic, "answers": asking.answers}
        problems = [(key, *each) for key, topic in topics.items() for each in output_problems(topic, set())]
        for key, text, hint in problems:
            document.fault(("pipelines", i, "escalate", key), "bad-topic", text, hint)
        if problems:
            continue
        here, values = _where(config, asking.broker), _own(pipeline, fleet, device_id)
        questions, answers = (levels_of(topic, values) for topic in topics.values())
        if overlap(questions, answers):
            text = "is also the topic of the questions, so that they would come back as answers"
            document.fault(("pipelines", i, "escalate", "answers"), "topic-loop", f"{show(asking.answers)} {text}", "write another topic")
        for key, levels in (("topic", questions), ("answers", answers)):
            if any(broker == here and overlap(levels, taken) for _, broker, taken in written):
                text = f"{show(topics[key])} is also a topic of results or events"
                document.fault(("pipelines", i, "escalate", key), "duplicate-topic", text, "write a topic of its own")
        for name, source in sources:
            if source.topic and source.broker and _where(config, source.broker) == here and overlap(questions, levels_of(source.topic, {})):
                text = f"{show(asking.topic)} is taken in by the source of pipeline {show(name or '')}"
                document.fault(("pipelines", i, "escalate", "topic"), "topic-loop", text, "change one of the two")


def _where(config: Config, name: str) -> str:
    """Give what two names of the same broker have in common: its URL, where that is known."""
    broker = (config.mqtt or {}).get(name)
    return broker.url if broker is not None and broker.url else name


def _check_output_files(config: Config, document: Document) -> None:
    """Note files that two outputs write, or that an output writes and a source reads."""
    read = {
        _plain(pipeline.source.path)
        for _, pipeline in pipelines_of(config)
        if isinstance(pipeline.source, FileSource) and pipeline.source.path
    }
    written: set[str] = set()
    for path, _, output in _outputs(config):
        if not isinstance(output, FileOutput) or output.path is None:
            continue
        file = _plain(output.path)
        if file in written:
            document.fault(
                (*path, "path"), "duplicate-file", f"{show(output.path)} is written by another output already", "give each its own file"
            )
        if file in read:
            document.fault((*path, "path"), "file-loop", f"{show(output.path)} is read by a source", "write to another file")
        written.add(file)


def _plain(path: str) -> str:
    return os.path.normpath(path)
