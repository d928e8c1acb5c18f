//! Whole programs: the standard library, and the programs that the language was designed on.

mod support;

use bdl_check::hir::{Store, Type};
use bdl_check::show_type;

const FIRST: &str = r#"
// data Junctions: dna = f32[60, 4], site = category(EI IE N)
data Junctions = csv("splice.csv") {
  dna  = onehot(column("sequence"), DNA)
  site = category(column("class"))
}

model SpliceNet(width: dim = 32, drop: f32 = 0.3)(dna: f32[L, 4]) -> logit[3] {
  dna
    |> Conv1d(width, kernel: 9)      |> relu |> MaxPool1d(2)
    |> Conv1d(2 * width, kernel: 5)  |> relu |> MaxPool1d(2)
    |> flatten
    |> Dense(64) |> relu |> dropout(drop)
    |> Dense(3)
}

train splice(lr: f32 = 1e-3) {
  model     net = SpliceNet()
  data      Junctions
  split     random(train: 0.7, valid: 0.15, test: 0.15, balance: site)
  loss      cross_entropy(net(dna), site)
  optimizer adamw(cosine(lr), weight_decay: 1e-2)
  epochs    40
  batch     64
  stop      when valid.loss stalls for 5 epochs
  keep      best valid.loss
  predict   kind = softmax(net(dna))
  report    accuracy(kind, site), auroc(kind, site), confusion(kind, site)
}

expect splice { test.accuracy >= 0.93 }
"#;

fn params(store: &Store) -> Vec<String> {
    store.params.iter().map(|p| format!("{} {}", p.path, show_type(&Type::Tensor(p.ty.clone())))).collect()
}

#[test]
fn the_first_program_of_the_language_page() {
    let checked = support::check_with("splice.bdl", FIRST, &[], &["SpliceNet"]);
    assert!(checked.diagnostics.is_empty(), "{}", checked.rendered());
    let train = &checked.hir.trains[0];
    assert_eq!(
        params(&train.store),
        [
            "net.conv1d_1.w f32[9, 4, 32]",
            "net.conv1d_1.b f32[32]",
            "net.conv1d_2.w f32[5, 32, 64]",
            "net.conv1d_2.b f32[64]",
            "net.dense_1.w f32[704, 64]",
            "net.dense_1.b f32[64]",
            "net.dense_2.w f32[64, 3]",
            "net.dense_2.b f32[3]",
        ]
    );
}
