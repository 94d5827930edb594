//! What stands there, for proofs: told as it is, and a failed look is never an empty one (law S9).

use super::fixture::Request;
use super::{Bench, Played, Report, any_number};
use crate::connector::Standing;
use crate::fault::{Effect, Fault};
use crate::transport::http::faulty::Trouble;

pub(super) async fn check(bench: &Bench<'_>, report: &mut Report) {
    let name = bench.name("what stands there");
    let played = match bench.play(bench.case.exchanges.clone(), None) {
        Ok(played) => played,
        Err(why) => return report.add("decodes", name, Err(why)),
    };
    let told = match read(bench, &played).await {
        Ok(found) if found == bench.case.standings => Ok(()),
        Ok(found) => Err(format!("{found:?} instead of {:?}", bench.case.standings)),
        Err(fault) => Err(fault.to_string()),
    };
    report.add("decodes", name, told);
    let requests = played.faulty.count().max(1);
    let troubles = [
        ("503", Trouble::Status(503)),
        ("a cut reply", Trouble::CutBody),
        ("an HTML page", Trouble::WrongBody),
        ("a lost reply", Trouble::TimeoutAfter),
    ];
    for nth in 1..=requests {
        for (what, trouble) in &troubles {
            let name = bench.name(&format!("{what} at request {nth}"));
            let result = spoiled(bench, (nth, trouble.clone())).await;
            report.add("S9", name, result);
        }
    }
}

async fn read(bench: &Bench<'_>, played: &Played) -> Result<Vec<Standing>, Fault> {
    let Request::ReadBack { origin, asked } = &bench.case.request else {
        return Ok(Vec::new());
    };
    let sink = played.connection.sinks.get(&bench.case.stream);
    let sink = sink.filter(|sink| sink.can_read_back());
    let sink = sink.ok_or_else(|| Fault::bug("fixture", "this stream cannot be read back"))?;
    sink.read_back(origin, asked).await
}

async fn spoiled(bench: &Bench<'_>, trouble: (u64, Trouble)) -> Result<(), String> {
    let played = bench.play(any_number(&bench.case.exchanges), Some(trouble))?;
    match read(bench, &played).await {
        Ok(_) => Err("it was read as if nothing had happened".to_owned()),
        Err(fault) if fault.effect != Effect::None => Err(format!(
            "reading has no effect, but the fault says so: {fault}"
        )),
        Err(fault) => bench.discreet(&fault),
    }
}
