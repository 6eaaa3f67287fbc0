"""The commands that put a package on Vertex AI, with today's flags, and its README. They are printed and never run.

Flags: https://cloud.google.com/sdk/gcloud/reference/ai/models/upload, .../ai/endpoints/create and
.../ai/endpoints/deploy-model; of the container: the page "Custom container requirements". Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbi_queue.vertex.names import Names

REGION, BUCKET, PROJECT = "us-central1", "cbi-v14-models", "PROJECT"
MACHINE = "n1-standard-2"
REPLICAS = (
    "One replica runs, and costs, all the time: the released command takes no fewer than 1. Scaling to zero when idle is a "
    "preview of Google's: `gcloud alpha ai endpoints deploy-model` with --min-replica-count=0 --initial-replica-count=1; "
    "the first request after an idle time then waits for a machine. Without an endpoint, `python forecast.py` and "
    "`python server.py` cost nothing."
)


def commands_for(names: Names) -> list[str]:
    """Return the commands, to be typed in the package's folder; PROJECT stands for your project."""
    stem = names.model_id.removesuffix(f"-{names.version}")
    image = f"{REGION}-docker.pkg.dev/{PROJECT}/cbi/{stem}:{names.version}"
    bucket = f"gs://{BUCKET}/{names.bucket_path}"
    upload = (
        f'gcloud ai models upload --region={REGION} --model-id={names.model_id} --display-name="{names.display_name}" '
        f"--container-image-uri={image} --artifact-uri={bucket}/model --container-ports=8080 "
        "--container-health-route=/health --container-predict-route=/predict"
    )
    endpoint = f'--endpoint-id={names.endpoint_id} --display-name="{names.endpoint_name}"'
    deploy = (
        f"gcloud ai endpoints deploy-model {names.endpoint_id} --region={REGION} --model={names.model_id} "
        f'--display-name="{names.display_name}" --machine-type={MACHINE} --min-replica-count=1 --max-replica-count=1 '
        "--traffic-split=0=100"
    )
    return [
        f"docker buildx build --platform linux/amd64 --tag {image} --push .",
        f"gcloud storage cp --recursive . {bucket}",
        upload,
        f"gcloud ai endpoints create --region={REGION} {endpoint}",
        deploy,
    ]


def readme(names: Names, facts: dict[str, Any], words: tuple[str, ...]) -> str:
    """Return the package's README.

    Args:
        names: of the package.
        facts: what the exporter said: "job", "model", "parity", "latency", "forecast".
        words: what may be believed of the model.
    """
    latency, forecast = facts["latency"], facts["forecast"]
    believed = "\n".join(f"- {sentence}" for sentence in words) or "- A baseline, to compare models with."
    steps = "\n\n".join(f"```sh\n{command}\n```" for command in commands_for(names))
    return f"""# {names.display_name}

`{names.model_id}`: the model of the job `{facts["job"]}` ({facts["model"]}), exported by cbi-queue. Its newest forecast, of
{forecast["date"]} for {forecast["target_date"]}: {forecast["predicted_price"]:.6g}.

What may be believed of it:

{believed}

## Forecast

```sh
python forecast.py example.csv
```

needs numpy and onnxruntime. `example.csv` is what the newest forecast was made of; your own file has the columns `date`,
`price` and those of `feature_schema.json`, which says how each is computed.

## Serve

```sh
python server.py
```

needs fastapi and uvicorn too, and listens on 127.0.0.1:8080; `Dockerfile` makes a container of it. A request:

```json
{{"instances": [{{"price": 60.1, "rows": [[0.01, null]]}}]}}
```

to `/predict`, with as many rows and features as `feature_schema.json` says. Other forms: the beginning of `server.py`.

## Files

| file | is |
|---|---|
| `model/` | the model as ONNX and as its own library writes it |
| `preproc.json` | what happens between features and model, and between model and price |
| `feature_schema.json` | the features: names, order, types, how each is computed |
| `metrics.json` | scores, dates, scheme, parity, latency |
| `training_hash.txt` | code, data and spec of the training |
| `SHA256SUMS` | of every file; `sha256sum --check SHA256SUMS` |

ONNX and native model differ by at most {facts["parity"]:.2g} standard deviations of the label. One window takes
{latency["one_window"]["p50_ms"]:.3g} ms (p50) and {latency["one_window"]["p99_ms"]:.3g} ms (p99) on one thread of {latency["cpu"]}, under a load of
{latency["load_1_minute"]:.3g}: {latency["class"]}.

## Vertex AI

In this folder, with your project for {PROJECT}; none of it was run:

{steps}

{REPLICAS}
"""
