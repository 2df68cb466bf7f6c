"""The page of the inference service in a real browser, and the model in it as WebAssembly."""

import base64
import itertools
import json
import shutil

import numpy as np
import pytest
import server_stub
import shapes
import soundfile
import yaml
from browser import MISSING, SCHEMES, Browser, found
from conftest import CLIP_SAMPLES, ROOT, SAMPLE_RATE, write_clip
from networks import int_dense, random_network
from networks import tflite as network_file
from test_page_browser import OVERFLOWS

import common
from apps.server import wasm
from asd import config, files
from asd.embedded import codegen
from asd.tflite import litert
from common import UserError

PAGE = ROOT / "apps/server/page"
WIDTHS = (400, 1000, 1600)
KEPT = (4, 44)  # frames that are scored: 1.28 s
THRESHOLD = 2.0  # dB^2, of `copying`
TONE_HZ = 1500  # of `write_clip`
pytestmark = [
    pytest.mark.skipif(found() is None, reason=MISSING),
    pytest.mark.skipif(wasm.missing() is not None, reason=str(wasm.missing())),
]


def copying() -> bytes:
    """A network that gives what it takes, but nothing above 0 dB: a loud tone is unusual to it."""
    weights = 127 * np.eye(640, dtype=np.int8)
    return network_file([int_dense(weights, None, [1 / 127], False, (0.5, 0), (0.5, 127))])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of model.wasm and model.json of `copying`, with a threshold."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "model_ToyTest_quant_fullint_micro_intio.tflite").write_bytes(copying())
    (folder / "test.yaml").write_text(yaml.safe_dump({"feature": {"central_frames": [*KEPT]}}))
    cfg = config.load_config(folder / "test.yaml")
    path = folder / "model_ToyTest_quant_fullint_micro_intio.tflite"
    _, settings = wasm.write(path, folder, cfg, wasm.Rule(2, 3))
    rate = {"nominal": 0.1, "low": 0.05, "high": 0.19}
    values = json.loads(settings.read_text())
    assert values["threshold"] is None and values["machine_type"] == "ToyTest"
    settings.write_text(json.dumps(values | {"threshold": THRESHOLD, "false_alarm_rate": rate}))
    return folder


@pytest.fixture(scope="module")
def feature(made):
    return config.load_config(made / "test.yaml").feature


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Wavs of noise, and of noise with a loud tone."""
    folder = tmp_path_factory.mktemp("clips")
    return {
        "normal": write_clip(folder / "normal.wav", 1),
        "unusual": write_clip(folder / "unusual.wav", 2, 0.5),
    }


@pytest.fixture(scope="module")
def microphone(tmp_path_factory):
    """What the browser's microphone hears, over and over."""
    path = tmp_path_factory.mktemp("microphone") / "unusual.wav"
    return write_clip(path, 3, 0.5, n_samples=4 * SAMPLE_RATE)


@pytest.fixture(scope="module")
def browser(microphone):
    with Browser("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
                 f"--use-file-for-fake-audio-capture={microphone}",
                 "--autoplay-policy=no-user-gesture-required") as one:  # fmt: skip
        yield one


@pytest.fixture
def stub(made):
    values = json.loads((made / "model.json").read_text())
    model = {key: values[key] for key in ("machine_type", "sha256", "threshold", "feature")}
    return server_stub.Stub(PAGE, made, [model])


@pytest.fixture
def address(stub):
    with server_stub.served(stub) as one:
        yield one


def wait(browser, condition: str, seconds: float = 25) -> None:
    """Until a JavaScript expression is true."""
    reached = browser.run(f"""new Promise(done => {{
        const end = performance.now() + {1000 * seconds};
        const look = () => ({condition}) ? done('yes') : performance.now() > end
            ? done(document.body.innerText) : setTimeout(look, 30);
        look();
    }})""")
    assert reached == "yes", f"never {condition}: {reached}"


def open_page(browser, address: str, width: int = 1000, scheme: str = "light") -> None:
    """Open the page, with nothing in its history."""
    browser.open(address, width, scheme)
    wait(browser, "document.documentElement.dataset.ready")
    browser.run("""(async () => {
        const {History} = await import('/page/history.js');
        await (await History.open()).clear();
        localStorage.clear();
    })()""")
    browser.open(address, width, scheme)
    wait(browser, "document.documentElement.dataset.ready")


def drop(browser, *paths) -> None:
    """Drop files on the page, as a person does."""
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.call("Input.dispatchDragEvent", type=kind, x=300, y=200, data=data)


def press(browser, key: str, code: int, shift: bool = False, text: str = "") -> None:
    """Press a key and let it go."""
    more = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
    browser.call("Input.dispatchKeyEvent", type="keyDown", text=text, **more)
    browser.call("Input.dispatchKeyEvent", type="keyUp", **more)


def text(browser, selector: str) -> str:
    return browser.run(f"document.querySelector('{selector}').innerText")


def scored_here(path, made, feature):
    """What Python has for a clip: the score by LiteRT, and its frames."""
    samples, _ = common.read_clip(path, feature)
    frames = common.log_mel(samples, feature)
    predict = litert.predictor(copying())
    return common.anomaly_scores(predict, [frames], feature.frames)[0]


AT_REST = "document.querySelector('#stop').hidden"
HEARD = "document.querySelector('#verdict .large')"


# The module.

RUN_ALL = """(async () => {
    const {load} = await import('/page/model.js');
    const model = await load();
    const bytes = atob(DATA), raw = Uint8Array.from(bytes, one => one.charCodeAt(0));
    const values = new Float32Array(raw.buffer), size = model.values.length;
    let out = '';
    for (let at = 0; at < values.length; at += size) {
        model.values.set(values.subarray(at, at + size));
        model.exports.page_quantise(), model.exports.page_run();
        out += String.fromCharCode(...new Uint8Array(model.output.buffer,
            model.output.byteOffset, model.output.length));
    }
    return btoa(out);
})()"""


def in_browser(browser, windows: np.ndarray) -> np.ndarray:
    """The bytes that the model in the page gives for float windows, (n, outputs) int8."""
    data = base64.b64encode(np.ascontiguousarray(windows, "<f4").tobytes()).decode()
    answer = browser.run(RUN_ALL.replace("DATA", json.dumps(data)))
    return np.frombuffer(base64.b64decode(answer), np.int8).reshape(len(windows), -1)


def by_litert(content: bytes, windows: np.ndarray) -> np.ndarray:
    run = litert.runner(content)
    return run(litert.to_int8(windows, run.source["scale"], run.source["zero_point"]))


def serve_model(content: bytes, folder, feature) -> server_stub.Stub:
    """A stand-in whose page has that model; model.json only of what running it needs."""
    module = wasm.compile_c(content)
    (folder / "model.wasm").write_bytes(module)
    network = codegen.reader.read(content)
    cfg = config.load_config()
    values = wasm.settings(wasm.Model("any", content, cfg.feature), module)
    assert values["sha256"] == network.sha256
    (folder / "model.json").write_text(json.dumps(values))
    return server_stub.Stub(PAGE, folder, [])


def test_bytes_are_litert_s_on_real_spectrograms(browser, real, tmp_path, feature):
    content = (real / "reference/ad01_int8.tflite").read_bytes()
    paths = sorted((real / "ad01").glob("*.bin"))
    assert len(paths) == 72
    frames = [np.fromfile(path, "<f4").reshape(200, 128) for path in paths]
    with server_stub.served(serve_model(content, tmp_path, feature)) as address:
        browser.open(address, 1000, "light")
        differing = count = 0
        for first in range(0, len(frames), 12):  # a message of a browser holds so much
            some = [common.vectors(one, 5) for one in frames[first : first + 12]]
            windows = np.concatenate(some)
            expected = by_litert(content, windows)
            got = in_browser(browser, windows)
            differing += int((got != expected).sum())
            count += got.size
    assert (differing, count) == (0, 72 * 196 * 640)


RUN_BYTES = """(async () => {
    const raw = one => Uint8Array.from(atob(one), letter => letter.charCodeAt(0));
    const {instance: {exports: e}} = await WebAssembly.instantiate(raw(MODULE));
    const inputs = raw(DATA), n = e.page_inputs(), m = e.page_outputs();
    let out = '';
    for (let at = 0; at < inputs.length; at += n) {
        new Uint8Array(e.memory.buffer, e.page_input(), n).set(inputs.subarray(at, at + n));
        e.page_run();
        out += String.fromCharCode(...new Uint8Array(e.memory.buffer, e.page_output(), m));
    }
    return btoa(out);
})()"""


def test_bytes_are_litert_s_for_any_chain(browser, address):
    """Random chains on random bytes: extremes, per tensor and per channel, any width; tables."""
    browser.open(address, 1000, "light")
    others = [one().content() for one in (shapes.scales, shapes.relu6, shapes.uint8_ends)]
    for seed, content in enumerate([*map(random_network, range(1, 9)), *others]):
        run = litert.in_bytes(litert.runner(content))
        size = codegen.reader.read(content).inputs
        inputs = np.random.default_rng(seed).integers(-128, 128, (40, size), np.int8)
        data = [base64.b64encode(one).decode() for one in (wasm.compile_c(content),
                                                           inputs.tobytes())]  # fmt: skip
        script = RUN_BYTES.replace("MODULE", json.dumps(data[0]))
        answer = browser.run(script.replace("DATA", json.dumps(data[1])))
        got = np.frombuffer(base64.b64decode(answer), np.int8).reshape(len(inputs), -1)
        np.testing.assert_array_equal(got, run(inputs), err_msg=str(seed))


def test_a_module_that_is_another_is_refused(browser, made, tmp_path, stub):
    for name in ("model.json", "model.wasm"):
        shutil.copy(made / name, tmp_path)
    (tmp_path / "model.wasm").write_bytes(wasm.compile_c(random_network(3)))
    stub.made = tmp_path
    with server_stub.served(stub) as address:
        browser.open(address, 1000, "light")
        wait(browser, "document.documentElement.dataset.ready")
        assert "not the one that model.json describes" in text(browser, "#problem")


def test_the_command_takes_features_from_the_records(story, tmp_path):
    path = story / "model/model_ToyTest_quant_fullint_micro_intio.tflite"
    wasm.main([str(path), "--out", str(tmp_path), "--alarm", "2", "4"])
    values = json.loads((tmp_path / "model.json").read_text())
    record = json.loads(path.with_suffix(".tflite.json").read_text())
    assert values["sha256"] == record["sha256"]
    assert values["feature"]["central_frames"] == [4, 44]
    assert values["rule"] == {"k": 2, "n": 4}
    assert values["stretch_frames"] == 40
    told = record.get(wasm.SERVING)  # of versions that tell no threshold there is none
    assert values["threshold"] == (told and told["threshold"]["value"])


def told_of(feature) -> dict:
    """What a record tells a service, made up."""
    return {
        "machine_type": "a",
        "feature": wasm.msgspec.to_builtins(feature),
        "threshold": {"value": 7.25, "kind": "empirical", "reason": "all alike"},
        "share": 0.9,
        "false_alarms": {"nominal": 0.1, "low": 0.05, "high": 0.2, "hits": 5, "clips": 50},
        "training": {"clips": 50, "level_db": [-40.0, -30.0], "seconds": [10.0, 11.0],
                     "band_errors": [1.0] * 128},
    }  # fmt: skip


def write_record(path, **more) -> None:
    """The record of a TFLite file whose model is `model_a.keras`."""
    source = {"model": "model_a.keras", "sha256": "1"}
    record = {"source": source, "sha256": files.file_hash(path)} | more
    path.with_suffix(".tflite.json").write_text(json.dumps(record))


def test_the_command_takes_the_threshold_from_the_record(tmp_path, feature):
    path = tmp_path / "model_a_quant_fullint_micro_intio.tflite"
    path.write_bytes(copying())
    whole = wasm.msgspec.structs.replace(feature, central_frames=None)
    write_record(path, serving=told_of(whole))
    wasm.main([str(path), "--out", str(tmp_path)])
    values = json.loads((tmp_path / "model.json").read_text())
    assert (values["threshold"], values["level_db"]) == (7.25, [-40, -30])
    assert "90% of 50" in values["threshold_how"] and "all alike" in values["threshold_how"]
    assert values["false_alarm_rate"] == {"nominal": 0.1, "low": 0.05, "high": 0.2}
    assert values["stretch_frames"] == round(10 * 16000 / 512)
    assert values["feature"]["central_frames"] is None


@pytest.mark.parametrize(
    "what",
    ["no file", "float", "other features", "mahalanobis", "a rule", "a record", "another file"],
)
def test_the_command_refuses(tmp_path, what):
    path = tmp_path / "model_a_quant_fullint_micro_intio.tflite"
    path.write_bytes(copying())
    argv = [str(path), "--out", str(tmp_path / "out")]
    told = {"no file": "run 02_convert.py", "float": "not", "other features": "5 x 64",
            "mahalanobis": "sends clips", "a rule": "at most N", "a record": "damaged",
            "another file": "not the file"}[what]  # fmt: skip
    if what == "no file":
        path.unlink()
    elif what == "float":
        path.write_bytes(b"TFL3" * 9)
    elif what == "other features":
        (tmp_path / "a.yaml").write_text("feature: {n_mels: 64}\n")
        argv += ["-c", str(tmp_path / "a.yaml")]
    elif what == "mahalanobis":
        write_record(path)
        trained = {"sha256": "1", "scored_by": {"kind": "autoencoder", "score": "mahalanobis"},
                   "configuration": {"feature": {}}}  # fmt: skip
        (tmp_path / "model_a.json").write_text(json.dumps(trained))
    elif what == "a record":
        write_record(path, serving={"feature": {}})
    elif what == "another file":
        write_record(path, sha256="2")
    else:
        argv += ["--alarm", "3", "2"]
    with pytest.raises(UserError) as error:
        wasm.main(argv)
    assert told in str(error.value)
    assert not (tmp_path / "out").exists()


# Features.

FRAMES = """(async () => {
    const {LogMel, melBands} = await import('/page/features.js');
    const {parse} = await import('/page/wav.js');
    const feature = FEATURE, mel = MEL ?? melBands(feature);
    const bytes = Uint8Array.from(atob(WAV), one => one.charCodeAt(0));
    const {values} = await new LogMel(feature, mel.bands).clip(parse(bytes.buffer).channel(0));
    return btoa(String.fromCharCode(...new Uint8Array(values.buffer)));
})()"""


def frames_in_browser(browser, path, feature, mel=None):
    wav = base64.b64encode(path.read_bytes()).decode()
    values = {name: getattr(feature, name) for name in feature.__struct_fields__}
    script = FRAMES.replace("FEATURE", json.dumps(values)).replace("MEL", json.dumps(mel))
    # A call has so many arguments: pieces of what String.fromCharCode takes.
    script = script.replace("btoa(String.fromCharCode(...new Uint8Array(values.buffer)))",
                            "btoa(Array.from(new Uint8Array(values.buffer), one => "
                            "String.fromCharCode(one)).join(''))")  # fmt: skip
    answer = browser.run(script.replace("WAV", json.dumps(wav)))
    return np.frombuffer(base64.b64decode(answer), "<f4").reshape(-1, feature.n_mels)


FEATURES = {
    "baseline": {},
    "htk": {"mel_scale": "htk", "mel_range_hz": [50, 7000], "n_mels": 64},
    "magnitudes": {"power": 1.0, "n_fft": 2048, "hop_length": 300},
    "tiny": {"n_fft": 256, "hop_length": 128, "n_mels": 20},
}


def assert_same_frames(got, expected):
    assert got.shape == expected.shape
    loud = expected > -80
    assert loud.any()
    np.testing.assert_allclose(got[loud], expected[loud], rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("bands", ["of the record", "of the page"])
def test_log_mel_is_pythons(browser, address, tmp_path, name, bands):
    feature = wasm.msgspec.structs.replace(config.load_config().feature, central_frames=None)
    values = wasm.msgspec.to_builtins(feature) | FEATURES[name]
    feature = wasm.msgspec.convert(values, common.Feature)
    path = write_clip(tmp_path / "a.wav", 5, 0.3)
    browser.open(address, 1000, "light")
    mel = {"bands": wasm._sparse(common.mel_filters(feature))} if bands == "of the record" else None
    expected = common.log_mel(common.read_clip(path, feature)[0], feature)
    assert_same_frames(frames_in_browser(browser, path, feature, mel), expected)


def test_log_mel_is_pythons_on_real_clips(browser, address, real):
    feature = wasm.msgspec.structs.replace(config.load_config().feature, central_frames=None)
    browser.open(address, 1000, "light")
    for machine_type in ("ToyCar", "fan", "slider", "valve"):
        path = sorted((real / "dcase2020" / machine_type / "test").glob("*.wav"))[0]
        expected = common.log_mel(common.read_clip(path, feature)[0], feature)
        assert_same_frames(frames_in_browser(browser, path, feature), expected)


ENCODINGS = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]
SAMPLES = """(async () => {
    const {parse} = await import('/page/wav.js');
    const bytes = Uint8Array.from(atob(WAV), one => one.charCodeAt(0));
    try {
        const wav = parse(bytes.buffer);
        return [wav.rate, wav.channels, Array.from(wav.channel(wav.channels - 1))];
    } catch (error) {
        return error.constructor.name + ': ' + error.message;
    }
})()"""


def read_in_browser(browser, content: bytes):
    data = base64.b64encode(content).decode()
    return browser.run(SAMPLES.replace("WAV", json.dumps(data)))


@pytest.mark.parametrize("layout", ["WAV", "WAVEX"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_wavs_are_read_as_libsndfile_reads_them(browser, address, tmp_path, encoding, layout):
    values = np.random.default_rng(0).uniform(-0.99, 0.99, (501, 3))
    path = tmp_path / "a.wav"
    soundfile.write(path, values, 22050, encoding, format=layout)
    expected, _ = soundfile.read(path, dtype="float32")
    browser.open(address, 1000, "light")
    rate, channels, samples = read_in_browser(browser, path.read_bytes())
    assert (rate, channels) == (22050, 3)
    np.testing.assert_array_equal(np.float32(samples), expected[:, 2])


def test_damaged_wavs_are_refused(browser, address, tmp_path):
    path = write_clip(tmp_path / "a.wav", n_samples=1000)
    content = path.read_bytes()
    browser.open(address, 1000, "light")
    for bad in (b"", b"RIFF", content[:40], content[:44], b"fLaC" + content, content[:20]):
        assert read_in_browser(browser, bad).startswith("WavError"), bad[:50]
    law = content[:20] + b"\x07\x00" + content[22:]  # mu-law
    assert "cannot read" in read_in_browser(browser, law)
    assert "ends early" in read_in_browser(browser, content[:-501])
    for size in (bytes(4), b"\xff" * 4):  # a recorder that never wrote the size
        unknown = content[:40] + size + content[44:-501]  # and was cut off in a sample
        assert len(read_in_browser(browser, unknown)[2]) == 749
    rng = np.random.default_rng(0)
    for _ in range(100):  # never anything but a WavError or samples
        noise = bytearray(content[:200])
        for at in rng.integers(0, 44, 3):
            noise[at] = rng.integers(256)
        answer = read_in_browser(browser, bytes(noise))
        assert not isinstance(answer, str) or answer.startswith("WavError"), answer


@pytest.mark.parametrize("rates", [(48000, 16000), (44100, 16000), (8000, 16000)])
def test_resampling_keeps_what_fits_and_no_more(browser, address, rates):
    """A tone within both rates stays to 1e-4; one above the lower rate's half is gone."""
    source, target = rates
    browser.open(address, 1000, "light")
    low, high = browser.run(f"""(async () => {{
        const {{Resampler}} = await import('/page/features.js');
        return [1000, 0.7 * Math.max(8000, {source} / 2)].map(hz => {{
            const one = new Resampler({source}, {target}), parts = [];
            for (let at = 0; at < {source}; at += 1777) parts.push(...one.push(Float32Array.from(
                {{length: Math.min(1777, {source} - at)}},
                (_, i) => Math.sin(2 * Math.PI * hz * (at + i) / {source}))));
            return [...parts, ...one.end()];
        }});
    }})()""")
    assert len(low) == target
    inside = slice(target // 10, -target // 10)
    expected = np.sin(2 * np.pi * 1000 * np.arange(target) / target)
    np.testing.assert_allclose(np.array(low)[inside], expected[inside], atol=1e-4)
    if source > target:
        assert np.abs(np.array(high)[inside]).max() < 1e-4


def test_resampling_leaves_no_band_empty(browser, address, feature):
    """White noise of 48 kHz has the levels at 16 kHz that white noise of 16 kHz has."""
    browser.open(address, 1000, "light")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 240_000).astype(np.float32)
    data = base64.b64encode(noise.tobytes()).decode()
    samples = browser.run(f"""(async () => {{
        const {{resampled}} = await import('/page/features.js');
        const raw = Uint8Array.from(atob({json.dumps(data)}), one => one.charCodeAt(0));
        const pause = () => Promise.resolve();
        return Array.from(await resampled(new Float32Array(raw.buffer), 48000, 16000, pause));
    }})()""")
    assert len(samples) == 80_000
    # Of the same power in each Hz, a third of which is left.
    levels = [common.mel_spectrum(np.float32(one), feature).mean(axis=0)
              for one in (samples, noise[:80_000] / np.sqrt(3))]  # fmt: skip
    assert np.abs(10 * np.log10(levels[0] / levels[1]))[-30:].max() < 1.5


# The page.


def test_a_dropped_wav_has_verdict_and_pictures(browser, address, stub, made, clips, feature):
    open_page(browser, address)
    before = len(stub.asked)
    for kind, verdict in (("normal", "Sounds normal"), ("unusual", "Sounds unusual")):
        drop(browser, clips[kind])
        wait(browser, f"{HEARD}?.innerText === '{verdict}' && {AT_REST}")
        assert clips[kind].name in text(browser, "#verdict")
        assert browser.run("document.querySelectorAll('#pictures canvas').length") == 4
        shown = browser.run("document.querySelector('#error-figure canvas').width")
        assert shown == 1 + CLIP_SAMPLES // feature.hop_length
    scores = browser.run("""(async () => {
        const {History} = await import('/page/history.js');
        return (await History.open()).rows.map(row => [row.score, row.worst.band_hz]);
    })()""")
    expected = [scored_here(clips[kind], made, feature) for kind in ("normal", "unusual")]
    assert expected[0] < THRESHOLD < expected[1]
    np.testing.assert_allclose([score for score, _ in scores], expected, rtol=1e-4)
    low, high = scores[1][1]
    assert low < TONE_HZ < high
    assert stub.sent == [] and stub.asked[before:] == [], "nothing leaves the page"
    assert browser.complaints() == []


def test_the_history_stays_and_is_exported(browser, address, clips):
    open_page(browser, address)
    drop(browser, clips["normal"], clips["unusual"])
    wait(browser, "document.querySelectorAll('#rows tr').length === 2")
    browser.open(address, 1000, "light")
    wait(browser, "document.documentElement.dataset.ready")
    assert browser.run("document.querySelectorAll('#rows tr').length") == 2
    browser.run("""(() => {
        window.saved = null;
        const create = URL.createObjectURL;
        URL.createObjectURL = blob => {
            blob.text().then(text => { window.saved = text; });
            return create(blob);
        };
        HTMLAnchorElement.prototype.click = function () { window.file = this.download; };
        document.querySelector('#export').click();
    })()""")
    wait(browser, "window.saved")
    header, *rows = [line.split(",") for line in browser.run("window.saved").splitlines()]
    assert browser.run("window.file") == "scores.csv"
    assert [row[header.index("verdict")] for row in rows] == ["normal", "unusual"]
    assert [row[header.index("name")] for row in rows] == ["normal.wav", "unusual.wav"]
    assert float(rows[1][header.index("score")]) > THRESHOLD
    browser.run("window.confirm = () => true, document.querySelector('#clear').click()")
    wait(browser, "document.querySelectorAll('#rows tr').length === 0")


def test_a_name_is_no_formula_in_the_csv(browser, address):
    browser.open(address, 1000, "light")
    row = {"time": "t", "source": "file", "name": '=1+"1",x', "score": 1.5, "anomalous": None,
           "changed": [], "warnings": [], "worst": None}  # fmt: skip
    lines = browser.run(f"""(async () => (await import('/page/history.js')).csv(
        [{json.dumps(row)}]))()""").splitlines()
    assert '"\'=1+""1"",x"' in lines[1] and ",1.5," in lines[1]


def test_a_level_unlike_training_is_told(browser, address):
    browser.open(address, 1000, "light")
    said = [browser.run(f"""(async () => (await import('/page/score.js')).unlike(
        new Float32Array(99).fill({level}), {{level_db: [-40, -30]}}))()""")
            for level in (-50, -42, -28, -20)]  # fmt: skip
    assert "10 dB quieter" in said[0][0] and "10 dB louder" in said[3][0]
    assert said[1:3] == [[], []]


def test_the_worst_place_is_against_the_usual_error(browser, address):
    """Band 100 has the largest error, and has it always; band 20 has ten times its usual one."""
    browser.open(address, 1000, "light")
    usual, edges = np.ones(128), np.arange(130.0).tolist()
    usual[100] = 100
    values = {"feature": {"n_mels": 128, "frames": 5, "hop_length": 512, "sample_rate": 16000},
              "mel": {"edges_hz": edges}}  # fmt: skip
    for band_errors, within in ((usual.tolist(), 20), (None, 100)):
        place = browser.run(f"""(async () => {{
            const bands = new Float64Array(64 * 128).fill(1);
            for (let t = 0; t < 64; t++) bands[t * 128 + 100] = 101;
            for (let t = 30; t < 42; t++) bands[t * 128 + 20] = 10;
            const told = {json.dumps(values | {"band_errors": band_errors})};
            return (await import('/page/model.js')).worst(bands, 64, told, 50);
        }})()""")
        low, high = place["band_hz"]
        assert low <= within + 1 <= high and high - low == 9
        if band_errors:  # 12 windows of 5 frames
            assert place["seconds"] == pytest.approx([80 * 0.032, 96 * 0.032])


def test_alarms_are_k_of_the_last_n(browser, address):
    browser.open(address, 1000, "light")
    flags = [0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 0, 1]
    rows = [{"time": f"{i:02}", "session": "a", "rule": {"k": 2, "n": 3}, "anomalous": bool(flag),
             "score": i if flag else 0, "machine_type": "fan", "worst": None}
            for i, flag in enumerate(flags)]  # fmt: skip
    rows += [{**rows[1], "session": "b", "time": "20"}, {**rows[1], "session": None, "time": "21"}]
    found = browser.run(f"""(async () => (await import('/page/history.js')).alarms(
        {json.dumps(rows)}).map(one => [one.from, one.to, one.highest]))()""")
    # By hand: two of the last three are above after 5, 6 and 7, and not after 8.
    assert found == [["05", "08", 7]]


@pytest.mark.parametrize("where", ["page", "server"])
def test_other_recordings_are_refused_or_told_of(browser, address, stub, tmp_path, where):
    """Too short, no wav, of another rate, of two channels."""
    open_page(browser, address)
    browser.run(f"document.querySelector('input[value={where}]').click()")
    short, flac = write_clip(tmp_path / "short.wav", n_samples=8000), tmp_path / "a.flac"
    soundfile.write(flac, np.zeros(CLIP_SAMPLES), SAMPLE_RATE)
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(CLIP_SAMPLES), SAMPLE_RATE)
    rate = write_clip(tmp_path / "rate.wav", rate=48000, n_samples=3 * CLIP_SAMPLES)
    noise = 0.05 * np.random.default_rng(0).standard_normal((CLIP_SAMPLES, 2))
    soundfile.write(tmp_path / "two.wav", noise, SAMPLE_RATE)
    if where == "server":
        drop(browser, flac)
        wait(browser, HEARD)
        assert stub.sent and flac.read_bytes() in stub.sent[0]
        assert "Component is clogged" in text(browser, "#verdict")
        assert "12 dB louder" in text(browser, "#verdict")
        return
    for path, told in ((short, "too short"), (flac, "wav files only"), (silent, "digital silence")):
        drop(browser, path)
        wait(browser, f"document.querySelector('#problem').innerText.includes('{told}')")
    for path, told in ((rate, "resampled from 48000 Hz"), (tmp_path / "two.wav", "channel 1 of 2")):
        drop(browser, path)
        wait(browser, f"document.querySelector('#verdict').innerText.includes('{told}')")
    assert stub.sent == []


def test_without_a_model_in_the_page_clips_are_sent(browser, tmp_path, clips, stub):
    stub.made = tmp_path
    with server_stub.served(stub) as address:
        open_page(browser, address)
        assert browser.run("document.querySelector('input[value=page]').disabled")
        drop(browser, clips["normal"])
        wait(browser, HEARD)
        assert text(browser, "#verdict .large") == "Sounds unusual"  # as the stand-in always says
        assert clips["normal"].read_bytes() in stub.sent[0]
        assert browser.run("document.querySelectorAll('#level-figure canvas').length") == 2
        assert browser.run("document.querySelectorAll('#level-figure .mark').length") == 1
        assert browser.run("document.querySelector('#error-figure').hidden")


REFUSALS = {
    401: ("no or a wrong token", "Enter the access token"),
    413: ("larger than 20 MB; cut it", "larger than 20 MB"),
    503: ("busy; try again in a second", "busy"),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_a_refusal_of_the_service_is_told(browser, address, stub, clips, status):
    detail, told = REFUSALS[status]
    stub.status, stub.answer = status, {"detail": detail}
    open_page(browser, address)
    browser.run("document.querySelector('input[value=server]').click()")
    drop(browser, clips["normal"])
    wait(browser, f"document.querySelector('#problem').innerText.includes('{told}')")
    assert browser.run("document.querySelector('#problem').getAttribute('role')") == "alert"


def test_live_listening_raises_an_alarm_and_sends_nothing(browser, address, stub, microphone):
    open_page(browser, address)
    before = len(stub.asked)
    browser.run("document.querySelector('#live').click()")
    wait(browser, "document.querySelectorAll('#rows tr').length >= 3")
    assert text(browser, "#verdict .large") == "Sounds unusual"
    wait(browser, "!document.querySelector('#alarm').hidden")
    drop(browser, microphone)
    wait(browser, "document.querySelector('#problem').innerText.includes('stop that first')")
    assert "2 of the last 3" in text(browser, "#alarm")
    assert "goes on" in text(browser, "#alarm-rows")
    assert "nothing is sent" in text(browser, "#state")
    assert browser.run("document.querySelectorAll('#pictures canvas').length") == 4
    browser.run("document.querySelector('#stop').click()")
    assert browser.run("document.querySelector('#alarm').hidden")
    assert text(browser, "#alarm-rows").count("end of listening") == 1
    assert stub.sent == []
    assert all(one.endswith("worklet.js") for one in stub.asked[before:])
    assert browser.complaints() == []


def test_live_listening_by_the_service(browser, address, stub):
    open_page(browser, address)
    browser.run("document.querySelector('input[value=server]').click()")
    browser.run("document.querySelector('#live').click()")
    wait(browser, "document.querySelectorAll('#rows tr').length >= 2")
    browser.run("document.querySelector('#stop').click()")
    assert len(stub.sent) >= 2 and b"WAVEfmt" in stub.sent[0]
    assert browser.complaints() == []


def test_a_recording_is_scored(browser, address):
    open_page(browser, address)
    assert text(browser, "#record") == "Record 1.5 s"
    browser.run("document.querySelector('#record').click()")
    wait(browser, HEARD)
    assert text(browser, "#verdict .large") == "Sounds unusual"
    assert "resampled from" in text(browser, "#verdict")
    assert browser.complaints() == []


def test_by_keyboard_alone(browser, address):
    """Tab reaches everything in reading order; Enter and Space start and stop; focus is seen."""
    open_page(browser, address)
    order = []
    for _ in range(14):
        press(browser, "Tab", 9)
        order.append(browser.run("document.activeElement.id || document.activeElement.className "
                                 "|| document.activeElement.tagName"))  # fmt: skip
    assert order[:4] == ["skip", "file", "record", "live"]
    outline = """(() => {
        document.querySelector('#live').focus();
        const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement);
        return outlineStyle === 'none' ? 0 : parseFloat(outlineWidth);
    })()"""
    assert browser.run(outline) >= 2
    press(browser, "Enter", 13, text="\r")
    wait(browser, "document.activeElement.id === 'stop'")
    wait(browser, "document.querySelectorAll('#rows tr').length >= 1")
    assert browser.run("document.querySelector('#said').textContent") != ""
    press(browser, " ", 32, text=" ")
    wait(browser, "document.querySelector('#stop').hidden")
    assert browser.run("document.activeElement.id") == "live"


def test_focus_stays_where_recordings_are_chosen(browser, address, clips):
    open_page(browser, address)
    browser.run("document.querySelector('#file').focus()")
    node = browser.call("DOM.getDocument")["root"]["nodeId"]
    found = browser.call("DOM.querySelector", nodeId=node, selector="#file")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=found, files=[str(clips["unusual"])])
    wait(browser, f"{HEARD} && {AT_REST}")
    assert browser.run("document.activeElement.id") == "file"
    assert browser.run("document.querySelector('#said').textContent") == (
        "unusual.wav: Sounds unusual"
    )


NAMELESS = """[...document.querySelectorAll('button, input, select, audio, meter, [role=img]')]
    .filter(one => !one.labels?.length && !one.textContent.trim() && one.tagName !== 'AUDIO'
        && !one.getAttribute('aria-label')).map(one => one.outerHTML.slice(0, 80))"""


def overflows(browser) -> list[str]:
    """What is wider than its place; not what is for screen readers alone."""
    return [one for one in browser.run(OVERFLOWS) if " unseen " not in one]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overflows(browser, address, clips, tmp_path, width):
    wide = tmp_path / f"{'x' * 180}.wav"
    shutil.copy(clips["unusual"], wide)
    for scheme in SCHEMES:
        open_page(browser, address, width, scheme)
        assert overflows(browser) == []
        drop(browser, clips["normal"], wide)
        wait(browser, "document.querySelectorAll('#rows tr').length === 2")
        wait(browser, "document.querySelector('#stop').hidden")
        assert overflows(browser) == []
        assert browser.run(NAMELESS) == []
        assert browser.complaints() == []


def test_light_and_dark_differ(browser, address):
    papers = set()
    for scheme in SCHEMES:
        browser.open(address, 400, scheme)
        papers.add(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert len(papers) == 2


def test_the_page_needs_no_inline_script_and_no_network(browser, address):
    open_page(browser, address)
    assert all(one.startswith((address, "blob:")) for one in browser.requests())
    browser.run("""(() => {
        window.hit = false;
        const one = document.createElement('script');
        one.textContent = 'window.hit = true';
        document.body.append(one);
    })()""")
    assert browser.run("window.hit") is False


CONTRASTS = """(() => {
    const light = text => {
        const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map(one => one / 255)
            .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const paper = one => {
        for (let at = one; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (!/, 0\\)$|transparent/.test(colour)) return colour;
        }
    };
    const bad = [];
    for (const one of document.querySelectorAll(
            'p, button:enabled, td, th, label, a, legend, span')) {
        if (!one.textContent.trim() || !one.getClientRects().length) continue;
        const both = [light(getComputedStyle(one).color), light(paper(one))];
        const [a, b] = both.sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(one.outerHTML.slice(0, 80));
    }
    return bad;
})()"""


def test_texts_have_contrast(browser, address, clips):
    """At least 4.5 to 1, WCAG 2.2, 1.4.3."""
    for scheme, kind in itertools.product(SCHEMES, clips):
        open_page(browser, address, 1000, scheme)
        drop(browser, clips[kind])
        wait(browser, HEARD)
        assert browser.run(CONTRASTS) == []
