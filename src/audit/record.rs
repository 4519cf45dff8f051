//! What a line says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lfbm_bundle::manifest::Decision;
use serde::{Serialize, Serializer};
use tonic::Code;

use super::ImageDigest;

/// How an image was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Its score is beyond the threshold.
    Anomalous,
    /// It is not.
    Normal,
}

/// What the reply to a request says of its image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// log p(x, z) in nats.
    pub log_joint: f64,
    /// The score that makes the verdict, its p-value and the verdict; `None` where the calibration does not
    /// hold.
    pub judged: Option<(f64, f64, Verdict)>,
}

/// What is known of a request for the score of one image.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the image had been read.
    pub time: SystemTime,
    /// The id of the request.
    pub request_id: Arc<str>,
    /// Which image of the request: the id of a stream's message, or the number of the image in a batch.
    pub item: Option<Arc<str>>,
    /// The RPC, also of a request over HTTP.
    pub method: Arc<str>,
    /// The label of the token that it carried.
    pub token: Option<Arc<str>>,
    /// The model's name.
    pub model: String,
    /// The model's version.
    pub version: u64,
    /// What the model's verdicts are made by.
    pub decision: Decision,
    /// The digest of the image as it came; `None` if there was none.
    pub image: Option<ImageDigest>,
    /// What it was answered.
    pub answer: Option<Answer>,
    /// How the request ended.
    pub code: Code,
    /// From when the image had been read to the end.
    pub latency: Duration,
}

/// A line of the log.
#[derive(Serialize)]
struct Fields<'a> {
    #[serde(serialize_with = "rfc_3339")]
    time: SystemTime,
    request_id: &'a str,
    item: Option<&'a str>,
    method: &'a str,
    token: Option<&'a str>,
    model: &'a str,
    version: u64,
    image_hmac_sha256: Option<&'a str>,
    key_id: &'a str,
    log_joint: Option<f64>,
    decision: Decision,
    deciding_score: Option<f64>,
    p_value: Option<f64>,
    verdict: Option<Verdict>,
    code: String,
    latency_ms: f64,
}

impl Record {
    /// Appends its line to `lines`; `key_id` names the key of the digest.
    pub(super) fn write(&self, key_id: &str, lines: &mut Vec<u8>) {
        let judged = self.answer.and_then(|answer| answer.judged);
        let fields = Fields {
            time: self.time,
            request_id: &self.request_id,
            item: self.item.as_deref(),
            method: &self.method,
            token: self.token.as_deref(),
            model: &self.model,
            version: self.version,
            image_hmac_sha256: self.image.as_ref().map(|digest| digest.0.as_str()),
            key_id,
            log_joint: self.answer.map(|answer| answer.log_joint),
            decision: self.decision,
            deciding_score: judged.map(|(score, ..)| score),
            p_value: judged.map(|(_, p_value, _)| p_value),
            verdict: judged.map(|(.., verdict)| verdict),
            code: format!("{:?}", self.code),
            latency_ms: self.latency.as_micros() as f64 / 1e3,
        };
        // Texts and numbers can always be written, and a vector takes them.
        let _ = serde_json::to_writer(&mut *lines, &fields);
        lines.push(b'\n');
    }
}

fn rfc_3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_micros(*time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_line_is_one_json_object_whatever_texts_hold() {
        let mut record = Record {
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001),
            request_id: "a\"b".into(),
            item: Some("line\nbreak".into()),
            method: "Score".into(),
            token: None,
            model: "m".to_owned(),
            version: 3,
            decision: Decision::Local,
            image: None,
            answer: None,
            code: Code::ResourceExhausted,
            latency: Duration::from_micros(1500),
        };
        let mut lines = Vec::new();
        record.write("k", &mut lines);
        record.answer = Some(Answer {
            log_joint: -2.0,
            judged: Some((0.5, 0.25, Verdict::Anomalous)),
        });
        record.write("k", &mut lines);
        let text = String::from_utf8(lines).unwrap();
        let [refused, scored] = &text.lines().collect::<Vec<_>>()[..] else {
            panic!("expected two lines: {text}");
        };
        let refused: Value = serde_json::from_str(refused).unwrap();
        assert_eq!(refused["time"], "2023-11-14T22:13:20.000001Z");
        assert_eq!(refused["request_id"], "a\"b");
        assert_eq!(refused["item"], "line\nbreak");
        assert_eq!(refused["code"], "ResourceExhausted");
        assert_eq!(refused["latency_ms"], 1.5);
        for name in [
            "token",
            "image_hmac_sha256",
            "log_joint",
            "p_value",
            "verdict",
        ] {
            assert_eq!(refused[name], Value::Null, "{name}");
        }
        let scored: Value = serde_json::from_str(scored).unwrap();
        assert_eq!(scored["verdict"], "anomalous");
        assert_eq!(scored["decision"], json!("local"));
        assert_eq!(scored["deciding_score"], 0.5);
        assert_eq!(scored["p_value"], 0.25);
    }
}
